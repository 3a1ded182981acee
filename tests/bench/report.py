"""What the benchmarks with goals share: their options, the report, and leaving in good order."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from nilo_schemas.errors import NiloError
from tests.bench.run import as_text
from tests.bench.servers import Say

TERMINATED = 143


def options(about: str, *, full: int, quick: int, rounds: int) -> argparse.ArgumentParser:
    """A parser of `--json`, `--quick`, `--events` and `--rounds`.

    Args:
        about: what the program does.
        full: events of the main topic.
        quick: those of the short form.
        rounds: turns of the full form.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--quick", action="store_true", help=f"{quick} events, one turn")
    parser.add_argument("--events", type=int, help=f"in the main topic; default: {full}")
    parser.add_argument("--rounds", type=int, help=f"turns; default: {rounds}")
    return parser


def sizes_of(given: argparse.Namespace, *, full: int, quick: int, rounds: int) -> tuple[int, int]:
    """How many events and turns were asked for."""
    return (
        given.events or (quick if given.quick else full),
        given.rounds or (1 if given.quick else rounds),
    )


def conclude(name: str, measure: Callable[[Say], dict[str, Any]], *, as_json: bool) -> int:
    """Measure and print the report; 1 when a goal is missed or the run failed."""
    leave_on_sigterm()
    begin = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {line}", file=sys.stderr, flush=True)

    try:
        report = measure(say)
    except NiloError as error:
        print(f"bench {name}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report) if as_json else as_text(report))
    return 0 if all(one["holds"] for one in report["ratios"]) else 1


def ratio(name: str, value: float, goal: float, *, most: bool = False) -> dict[str, Any]:
    """A ratio and whether it reaches its goal; `most`: it must not be over it."""
    holds = value <= goal if most else value >= goal
    return {"name": name, "value": round(value, 3), "goal": goal, "holds": holds}


def leave_on_sigterm() -> None:
    """Have SIGTERM end the program, with the servers stopped on the way."""
    signal.signal(signal.SIGTERM, _end)


def _end(*_: object) -> None:
    # a second signal must not come between
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(TERMINATED)
