"""`nilo bench`: the benchmarks of a checkout, run as a program of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import nilo_cli
from nilo_cli.context import flags_of
from nilo_cli.errors import UsageError
from nilo_cli.output import console, show_rows, wants_json
from nilo_schemas.errors import NiloError

FAILED = 1
HOT_QUICK, TRANSPORTS_QUICK, KILLS_QUICK = 20_000, 200_000, 3
app = typer.Typer(
    help="Measure this machine, from a checkout. Exits with 1 when a goal is missed.",
    no_args_is_help=True,
)
Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON object; the default when piped.", show_default=False),
]
Quick = Annotated[bool, typer.Option("--quick", help="A short form; goals may be missed by it.")]
Events = Annotated[int | None, typer.Option(min=1, help="How many.", show_default=False)]


class CheckoutError(NiloError):
    """Benchmarks lie in the source tree, which an installed package does not bring."""


@app.command()
def engine(
    ctx: typer.Context,
    *,
    quick: Quick = False,
    events: Annotated[
        int | None, typer.Option(min=10_000, help="In the main topic.", show_default=False)
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Turns.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Measure the processors on a real broker.

    Beside raw librdkafka and stock Faust on the same events; then with many series, over many
    events, and after SIGKILL. Every window is compared with what it must hold. Ten minutes; a
    broker of its own, unless the environment names one.

    \b
    Example:
      nilo bench engine
      nilo bench engine --quick --json
    """
    _bench(ctx, "tests.bench.engine", _given(quick=quick, events=events, rounds=rounds), as_json)


@app.command()
def sinks(
    ctx: typer.Context,
    *,
    quick: Quick = False,
    events: Annotated[
        int | None, typer.Option(min=10_000, help="In the main topic.", show_default=False)
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Turns.", show_default=False)] = None,
    without_quix: Annotated[
        bool, typer.Option("--without-quix", help="Leave out Quix Streams, and PyPI.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure the sinks of PostgreSQL and Parquet.

    Beside a bare COPY, a bare Parquet file and Quix Streams' sinks; then their memory over many
    events. What was stored is counted. Quix Streams comes from PyPI at the first run, into an
    environment of its own in the user's cache, made by uv. Ten minutes; servers of its own, unless
    the environment names some.

    \b
    Example:
      nilo bench sinks
      nilo bench sinks --quick --without-quix --json
    """
    options = _given(quick=quick, events=events, rounds=rounds, without_quix=without_quix)
    _bench(ctx, "tests.bench.sinks", options, as_json)


@app.command()
def transports(
    ctx: typer.Context, *, quick: Quick = False, events: Events = None, as_json: Json = False
) -> None:
    """Measure the ways to bring messages into Faust.

    \b
    Example:
      nilo bench transports --quick
    """
    events = events or (TRANSPORTS_QUICK if quick else None)
    _bench(ctx, "tests.bench.transports", _given(events=events), as_json)


@app.command()
def chaos(
    ctx: typer.Context,
    *,
    quick: Annotated[bool, typer.Option("--quick", help=f"{KILLS_QUICK} kills.")] = False,
    kills: Annotated[int, typer.Option(min=1, help="SIGKILLs of workers.")] = 10,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Of a round's stream.", show_default=False)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="At the start of a round.", show_default=False)
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=1, help="Events per second.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of all faults; told at the start.", show_default=False)
    ] = None,
    sinks: Annotated[bool, typer.Option("--sinks", help="Kill sinks, not workers.")] = False,
    as_json: Json = False,
) -> None:
    """Kill, stop and restart under load; count differences.

    Workers and the broker, at random moments. When the stream has ended, every window must be as
    a plain reference computes it from the events. With --sinks the sinks of PostgreSQL, the lake
    and SQLite are killed, the database and the broker are away for a while, and the ledger of
    `nilo audit reconcile` must be clean.

    \b
    Example:
      nilo bench chaos --kills 100
      nilo bench chaos --sinks --kills 50
      nilo bench chaos --quick --seed 7
    """
    given = _given(
        kills=KILLS_QUICK if quick else kills,
        seconds=seconds,
        workers=workers,
        rate=rate,
        seed=seed,
    )
    if sinks and (seconds, workers) != (None, None):
        raise UsageError("--seconds and --workers are for the processors' chaos, not for --sinks")
    _bench(ctx, "tests.chaos.sinks" if sinks else "tests.chaos.run", given, as_json)


@app.command()
def hot(
    ctx: typer.Context, *, quick: Quick = False, events: Events = None, as_json: Json = False
) -> None:
    """Measure the hot paths of one process, no broker.

    \b
    Example:
      nilo bench hot
    """
    events = events or (HOT_QUICK if quick else None)
    _bench(ctx, "tests.bench.run", _given(events=events), as_json)


@app.command()
def anomaly(ctx: typer.Context, *, quick: Quick = False, as_json: Json = False) -> None:
    """Measure the detector of anomalies, no broker.

    On files of the Numenta Anomaly Benchmark, which lie in the shared folder beside the checkout,
    and on made-up series with disturbances of known size.

    \b
    Example:
      nilo bench anomaly
      nilo bench anomaly --quick --json
    """
    _bench(ctx, "tests.bench.anomaly", _given(quick=quick), as_json)


def _given(**options: float | None) -> list[str]:
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


def _bench(ctx: typer.Context, module: str, options: list[str], as_json: bool) -> None:
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
    figures = [{"name": name, "value": value} for name, value in report["figures"].items()]
    show_rows(figures, ["name", "value"], as_json=False)
    console().print()
    console().print(" ".join(f"{name} {number}" for name, number in report["versions"].items()))
