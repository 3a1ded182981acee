"""Runs a benchmark of a checkout as a program of its own, and shows its report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

import nilo_cli
from nilo_cli.context import flags_of
from nilo_cli.output import console, show_rows, wants_json
from nilo_schemas.errors import NiloError

FAILED = 1


class CheckoutError(NiloError):
    """Benchmarks lie in the source tree, which an installed package does not bring."""


def given(**options: float | None) -> list[str]:
    """Options of the other program; one that is None or False is not given, True is a bare flag."""
    words: list[str] = []
    for name, value in options.items():
        if value is not None and value is not False:
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return words


def checkout() -> Path:
    """The source tree around this package; raises CheckoutError when there is none."""
    root = Path(nilo_cli.__file__).parents[2]
    if not (root / "tests" / "bench").is_dir():
        raise CheckoutError(
            f"benchmarks run from a checkout, and {root} is none: clone the repository, "
            "then `make env` and `.venv/bin/nilo bench …` in it"
        )
    return root


def bench(ctx: typer.Context, module: str, options: list[str], as_json: bool) -> None:
    """Run a benchmark, show its report, and leave with its exit code or 1 for a missed goal."""
    flags = {f"NILO_{key.upper()}": str(value) for key, value in flags_of(ctx).items() if value}
    code, told = _run(checkout(), module, options, os.environ | flags)
    report = _report(told)
    if report is not None:
        _show(report, as_json)
        code = code or (0 if _holds(report) else FAILED)
    raise typer.Exit(code)


def _run(
    root: Path, module: str, options: list[str], environment: Mapping[str, str]
) -> tuple[int, str]:
    """Run a module of the checkout to its end: its exit code and what it has printed."""
    command = [sys.executable, "-m", module, *options, "--json"]
    child = subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    # It has servers to stop: never end before it. Ctrl-C reaches it through the terminal.
    before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        told, _ = child.communicate()
    except KeyboardInterrupt:
        child.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    return child.returncode, told


def _report(told: str) -> dict[str, Any] | None:
    """The report in the last line; None when there is none: then stderr has said why."""
    last = told.strip().rpartition("\n")[2]
    try:
        report = json.loads(last)
    except ValueError:
        return None
    return report if isinstance(report, dict) else None


def _holds(report: Mapping[str, Any]) -> bool:
    """Whether every ratio that has a goal reaches it."""
    return all(ratio.get("holds", True) for ratio in report["ratios"])


def _show(report: Mapping[str, Any], as_json: bool) -> None:
    if wants_json(as_json):
        print(json.dumps(report), flush=True)
        return
    show_rows(report["ratios"], ["name", "value", "goal", "holds"], as_json=False)
    console().print()
    if "table" in report:
        show_rows(report["table"], list(report["table"][0]), as_json=False)
        console().print()
    figures = [{"name": name, "value": value} for name, value in report["figures"].items()]
    show_rows(figures, ["name", "value"], as_json=False)
    console().print()
    console().print(" ".join(f"{name} {number}" for name, number in report["versions"].items()))
