"""What the benchmarks with goals share: a ratio of the report, and leaving in good order."""

from __future__ import annotations

import signal
import sys
from typing import Any

TERMINATED = 143


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
