"""The windows of one metric and length, handed to the rules in the order of their ends.

A window is looked at once, when the clock of its events has passed its end: by then it has what
came in time. What is published of it later is late, and changes no alert.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa

from nilo_schemas.arrow import arrow_schema
from nilo_schemas.catalogue import Metric
from nilo_schemas.results import MetricWindow
from nilo_schemas.windows import Window
from nilo_stream_processors.engine.arrays import Bools, Ints, Texts
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.numbers import Numbers
from nilo_stream_processors.engine.plan import microseconds

# A series that was silent for so long is forgotten, and with it what was learnt of it. Longer than
# a week, so that what runs once a week is known the next time.
FORGET = 8 * 86_400_000_000
# So long after its last window a series counts as one that has none, then as one that has ended.
FILLED = 86_400_000_000
_LAST, _PARTITION, _FIRST_OFFSET, _LAST_OFFSET = range(4)


@dataclass(frozen=True)
class Step:
    """The windows of a feed that end at one moment, at most one of each series.

    `slots` are the numbers of their series, `known` those of all series that are remembered, in
    rising order, with these among them.
    """

    end: int
    rows: Closed
    slots: Ints
    known: Ints


class Feed:
    """The windows of one metric and length that wait, and the series that are known.

    Args:
        cap: so many series are remembered at most; of more the longest silent ones are forgotten.
    """

    def __init__(self, name: str, metric: Metric, window: Window, cap: int) -> None:
        self.name, self.metric, self.window = name, metric, window
        self.hop, self.length = microseconds(window.hop), microseconds(window.length)
        self.numbers = Numbers()
        self.clock, self._cap = 0, cap
        self._seen: Ints = np.zeros((4, self.numbers.capacity), np.int64)
        self._waiting: dict[int, list[Closed]] = {}
        self._dirty: Bools = np.zeros(self.numbers.capacity, np.bool_)

    def texts(self, slots: Ints) -> Texts:
        """The series that have these numbers."""
        found: Texts = self.numbers.texts[slots]
        return found

    def last_end(self, slots: Ints) -> Ints:
        """When the newest window of each series ended."""
        ends: Ints = self._seen[_LAST, slots]
        return ends

    def last_source(self, slot: int) -> tuple[int, int, int]:
        """Partition, first and last offset of a stretch that its newest window was made of."""
        partition, first, last = self._seen[1:, slot].tolist()
        return partition, first, last

    def add(self, batch: pa.RecordBatch) -> None:
        """Let windows wait for their end; those whose end is past are late."""
        closed = Closed.of(batch, self.metric.dimensions)
        for end in np.unique(closed.end).tolist():
            rows = closed.take(np.flatnonzero(closed.end == end))
            if end > self.clock:
                self._waiting.setdefault(end, []).append(rows)

    def next_end(self, now: int, due: int | None) -> int | None:
        """The next moment to look at, if `now` has come to it.

        Args:
            due: the end at which somebody wants to look though no window may have come.
        """
        end = min(self._waiting, default=now + 1)
        end = end if due is None else min(end, due)
        return end if end <= now else None

    def grid(self, time: int) -> int:
        """The first end of a window at a time or after it."""
        return -(-time // self.hop) * self.hop

    def absent(self, step: Step) -> Ints:
        """The series that have no window at a moment, and have had one within the day before."""
        missing = np.setdiff1d(step.known, step.slots)
        return cast("Ints", missing[self._seen[_LAST, missing] > step.end - FILLED])

    def next_absent(self) -> int | None:
        """The next moment at which series may be absent; None when all are for long."""
        if self.window.kind == "session":
            return None
        recent = self._seen[_LAST].max() > self.clock + self.hop - FILLED
        return self.clock + self.hop if self.clock and recent else None

    def too_old(self, end: int) -> Ints:
        """The series that are forgotten at a moment: one of them that comes now begins anew."""
        known = self.known()
        return cast("Ints", known[self._seen[_LAST, known] <= end - FORGET])

    def step(self, end: int) -> tuple[Step, Ints]:
        """The windows that end at this moment; and the series that are too many from now on."""
        rows = _newest(self._waiting.pop(end, []))
        self.clock = end
        slots = np.empty(0, np.int64)
        if len(rows):
            slots = self._numbered(rows.series)
            self._seen[_LAST, slots] = end
            self._seen[1:, slots] = rows.last_sources()
            self._dirty[slots] = True
        gone = self._too_many()
        known = self._known()
        known[gone] = False
        return Step(end, rows, slots, np.flatnonzero(known)), gone

    def forget(self, slots: Ints) -> None:
        """Forget series, once the rules have."""
        self._seen[:, slots] = 0
        self._dirty[slots] = False
        self.numbers.release(slots)

    def _numbered(self, series: Texts) -> Ints:
        slots = self.numbers.named(series)
        self._grow()
        new = slots[self._seen[_LAST, slots] == 0]
        self.numbers.use(new)
        return slots

    def _grow(self) -> None:
        more = self.numbers.capacity - self._seen.shape[1]
        if more > 0:
            self._seen = np.pad(self._seen, ((0, 0), (0, more)))
            self._dirty = np.pad(self._dirty, (0, more))

    def known(self) -> Ints:
        """The numbers of all series that are remembered."""
        return np.flatnonzero(self._known())

    def _known(self) -> Bools:
        known: Bools = self._seen[_LAST] > 0
        return known

    def _too_many(self) -> Ints:
        """The series beyond the cap, by their last window, then by name.

        Not by their numbers, which a restart changes.
        """
        known = self.known()
        many = len(known) - self._cap
        if many <= 0:
            return np.empty(0, np.int64)
        names = self.texts(known).tolist()
        order = sorted(zip(self._seen[_LAST, known].tolist(), names, known.tolist(), strict=True))
        return np.array([slot for *_, slot in order[:many]], np.int64)

    # State

    def stored(self, *, all_of_it: bool) -> Iterator[tuple[str, pa.RecordBatch]]:
        """What to keep: the series that changed, or all, and the windows that wait."""
        slots = np.flatnonzero(self._known() & (self._dirty | all_of_it))
        self._dirty[:] = False
        columns = {"series": pa.array(self.texts(slots).tolist(), pa.string())}
        columns |= {f"seen{row}": pa.array(self._seen[row, slots]) for row in range(4)}
        yield "series", pa.RecordBatch.from_pydict(columns)
        waiting = [part for end in sorted(self._waiting) for part in self._waiting[end]]
        if waiting:
            yield "waiting", Closed.joined(waiting).batch

    def restore(self, part: str, batch: pa.RecordBatch) -> None:
        """Put back a part of what was stored, in the order of storing; `clock` is set already."""
        if part == "waiting":
            self.add(batch)
            return
        series = np.asarray(batch["series"].to_pylist(), np.object_)
        slots = self.slots_of(series)
        self._seen[:, slots] = [batch[f"seen{row}"].to_numpy() for row in range(4)]

    def slots_of(self, series: Texts) -> Ints:
        """The numbers of series that are to be known, or are."""
        slots = self._numbered(series)
        self._seen[_LAST, slots] = np.maximum(self._seen[_LAST, slots], 1)
        return slots


def _newest(parts: list[Closed]) -> Closed:
    """The newest revision of each series; those that are withdrawn are none."""
    if not parts:
        return EMPTY
    rows = Closed.joined(parts)
    if len(parts) > 1:
        newest: dict[str, tuple[int, int]] = {}
        for row, (series, revision) in enumerate(zip(rows.series, rows.revision, strict=True)):
            newest[series] = max(newest.get(series, (-1, -1)), (int(revision), row))
        rows = rows.take(np.array(sorted(row for _, row in newest.values()), np.int64))
    alive = np.flatnonzero(rows.count > 0)
    return rows if len(alive) == len(rows) else rows.take(alive)


EMPTY = Closed.of(pa.RecordBatch.from_pylist([], schema=arrow_schema(MetricWindow)), [])
