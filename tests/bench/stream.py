"""Streams of `events.llm` for a benchmark: how many, by whom, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
MINUTE = 60 * SECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Stream:
    """Calls in order of their time, the same number to each series and, by series, partition.

    Each round over all series goes in another random order. `per_minute` events make one minute
    of event time, from `start` on. `full`: each event has all that an instrumented program gives
    it: an id and a span of its own, a trace, a session, a subject, labels, a key; else the ids of a
    few thousand calls come again and again.
    """

    events: int
    series: int
    per_minute: int
    start: datetime = START
    full: bool = False

    def times(self, index: Ints) -> Ints:
        """Event times in microseconds since the epoch."""
        return micros(self.start) + index * MINUTE // self.per_minute

    def members(self) -> Ints:
        """The series of every event."""
        rounds = -(-self.events // self.series)
        each = np.broadcast_to(np.arange(self.series), (rounds, self.series))
        order: Ints = np.random.default_rng(1).permuted(each, axis=1)
        return order.ravel()[: self.events]


def model_of(series: int) -> str:
    """The model that makes a series."""
    return f"model-{series:06}"


def micros(time: datetime) -> int:
    """Microseconds since the epoch."""
    return (time - _EPOCH) // timedelta(microseconds=1)
