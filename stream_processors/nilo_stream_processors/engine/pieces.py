"""A source partition of a bounded replay, cut into pieces.

Where a piece ends has no part in the result: what came late for a window of panes is told by its
level (see `partials`), so windows hold the same when they close. Sessions have no such thing, and
rules look at a session once, when it closes. So of metrics with sessions windows close at *lines*
only, multiples of a time, and a row that comes when its session may be closed begins a new piece,
which waits until the lines before it are closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import gcd
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nilo_stream_processors.engine.arrays import Ints
from nilo_stream_processors.engine.columns import ints
from nilo_stream_processors.engine.merge import Mark, Source
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.plan import Grouping
from nilo_stream_processors.engine.source import (
    Bounds,
    SourceState,
    aggregate,
    changes,
    expire,
)

# A piece has so many rows, if none of them is behind its line: what it changed is taken in at once.
_ROWS = 100_000


@dataclass(frozen=True)
class Lines:
    """Where the windows of a family close: at multiples of `step`, the gap that its sessions share.

    In microseconds; 0 for a family without sessions, whose windows close anywhere.
    """

    step: int

    @classmethod
    def of(cls, groupings: list[Grouping]) -> Lines:
        """Those of the metrics of a family."""
        return cls(gcd(*(one.gap for one in groupings)))

    def reached(self, watermark: int) -> int:
        """How far windows close at a watermark."""
        return watermark - watermark % self.step if self.step else watermark

    def waiting(self, times: Ints, before: Ints) -> set[int]:
        """The rows with which a piece begins that waits.

        Args:
            times: of the rows.
            before: the watermark as it stands before each of them.
        """
        if not self.step:
            return set()
        lines = before - before % self.step
        late = np.flatnonzero(times + self.step <= lines)
        return _first_of_each(late, lines[late])


class Taken(NamedTuple):
    """How many rows a piece has, and how many of them were refused as late or from the future."""

    rows: int
    late: int
    future: int


@dataclass(frozen=True)
class Piece:
    """What some rows of a source partition changed, and how far it is behind them.

    Args:
        source: topic and partition.
        waits: the lines that the partition had passed until then close first.
        changed: snapshots of the cells.
        mark: of the partition.
        taken: what became of the rows.
    """

    source: Source
    waits: bool
    changed: Partials
    mark: Mark
    taken: Taken


class Cutter:
    """Takes the rows of a source partition into its state, piece by piece.

    Args:
        state: of the partition, which changes.
        source: topic and partition.
        bounds: what is late, and what is from the future.
        lines: where windows close.
        beat: a piece is no longer than this, for somebody who waits in between; microseconds.
    """

    def __init__(
        self, state: SourceState, source: Source, bounds: Bounds, lines: Lines, beat: int | None
    ) -> None:
        self.state, self._source, self._bounds = state, source, bounds
        self._lines, self._beat = lines, beat
        self._waits, self._taken = False, Taken(0, 0, 0)

    def cut(self, batch: pa.RecordBatch, offsets: Ints, stamps: Ints) -> Iterator[Piece]:
        """Take the next rows; the pieces that end with them or among them.

        Args:
            batch: decoded events in the order of their offsets, at least one.
            offsets: of each row.
            stamps: time of each row's Kafka record, in microseconds.
        """
        waiting, begins = self._begins(batch, stamps)
        for first, stop in pairwise(sorted({0, *begins, len(offsets)})):
            if first in begins:
                yield from self.rest()
                self._waits = first in waiting
            part = slice(first, stop)
            self._add(batch.slice(first, stop - first), offsets[part], stamps[part])
        if self._taken.rows >= _ROWS:
            yield from self.rest()

    def rest(self) -> Iterator[Piece]:
        """The piece that has begun, if there is one."""
        if not self._taken.rows:
            return
        changed = changes(self.state, self._source)
        expire(self.state, self._bounds.grace)
        mark = Mark(self.state.watermark, self.state.last_offset, idle=False)
        yield Piece(self._source, self._waits, changed, mark, self._taken)
        self._waits, self._taken = False, Taken(0, 0, 0)

    def _begins(self, batch: pa.RecordBatch, stamps: Ints) -> tuple[set[int], set[int]]:
        """The rows with which pieces begin: those that wait, and all."""
        if not self._lines.step and self._beat is None:
            return set(), set()
        times = ints(batch.column("time"))
        before = _before(times, stamps, self.state.watermark, self._bounds)
        waiting = self._lines.waiting(times, before)
        if self._beat is None:
            return waiting, waiting
        return waiting, waiting | _first_of_each(np.arange(len(times)), before // self._beat)

    def _add(self, batch: pa.RecordBatch, offsets: Ints, stamps: Ints) -> None:
        refused = aggregate(self.state, batch, offsets, stamps, self._bounds)
        self.state.capped.clear()
        more = len(offsets), len(refused.late), len(refused.future)
        self._taken = Taken(*(map(sum, zip(self._taken, more, strict=True))))


def _before(times: Ints, stamps: Ints, watermark: int, bounds: Bounds) -> Ints:
    """The watermark as it stands before each row; one from the future does not move it."""
    moving = np.where(times > stamps + bounds.future, 0, times - bounds.disorder)
    after = np.maximum.accumulate(np.maximum(moving, watermark))
    return np.concatenate([[watermark], after[:-1]])


def _first_of_each(rows: Ints, values: Ints) -> set[int]:
    """The first row of each value; the values do not fall."""
    return set(rows[np.flatnonzero(np.diff(values, prepend=-1))].tolist())
