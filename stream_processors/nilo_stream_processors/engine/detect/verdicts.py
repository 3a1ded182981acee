"""What a rule says of the windows of one moment, and the figures behind it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from nilo_schemas.results import SourceRange
from nilo_stream_processors.engine.arrays import Bools, Floats, Texts
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.feed import Step

# How two numbers are compared, by the operator of a condition.
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


@dataclass(frozen=True)
class Facts:
    """The evidence for what a rule says of one series.

    `text` is the arithmetic in words, `unit` that of value and threshold.
    """

    text: str
    unit: str = ""
    value: float | None = None
    threshold: float | None = None
    score: float | None = None
    baseline: float | None = None
    spread: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    sources: list[SourceRange] = field(default_factory=list)


@dataclass(frozen=True)
class Verdicts:
    """What a rule says of some series; of those that are not among them it knows nothing.

    `clear` says that an alert may end; between breach and clear it stays what it is. `facts` tells
    of the series at a place in the arrays; `values` are what was held against the bound.
    """

    keys: Texts
    breach: Bools
    clear: Bools
    facts: Callable[[int], Facts]
    values: Floats


Stored = Iterator[pa.RecordBatch]


class Judge(Protocol):
    """A rule at work: what it has learnt of its series, and what it says of the next windows.

    `labels` are the dimensions that tell its series apart. `absent_is_clear`: a series without
    window does not meet the condition; else nothing is known of it.
    """

    labels: list[str]
    absent_is_clear: bool

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """Look at the windows of a moment.

        Args:
            others: the windows of another metric that end at the same moment.
        """
        ...

    def due(self) -> int | None:
        """The next end of a window at which it must look though no window comes; None: never."""
        ...

    def forget(self, series: Texts) -> None:
        """Forget series of the feed."""
        ...

    def stored(self, *, all_of_it: bool) -> Stored:
        """What to keep: all, or what changed since the last time."""
        ...

    def restore(self, batch: pa.RecordBatch) -> None:
        """Put back what was stored, in the order of storing."""
        ...


class Stateless:
    """Of a rule that learns nothing."""

    def due(self) -> int | None:
        """It says nothing without windows."""
        return None

    def forget(self, series: Texts) -> None:
        """Nothing is known of any."""

    def stored(self, *, all_of_it: bool) -> Stored:
        """Nothing."""
        yield from ()

    def restore(self, batch: pa.RecordBatch) -> None:
        """Nothing is stored."""


def number(value: float) -> float | None:
    """A number of an array as a value of an alert; None for NaN and infinity."""
    return float(value) if np.isfinite(value) else None


def compared(operator_: str, values: Floats, bound: float) -> Bools:
    """Which values meet a bound; NaN meets none."""
    found: Bools = COMPARE[operator_](values, bound)
    return found & ~np.isnan(values)
