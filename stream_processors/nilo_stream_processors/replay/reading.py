"""Some source partitions, read side by side and cut into pieces: the one furthest behind next."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from nilo_schemas.catalogue import Catalogue
from nilo_schemas.errors import Reason
from nilo_stream_processors.engine import partials as arrow
from nilo_stream_processors.engine.columns import ints
from nilo_stream_processors.engine.merge import Source
from nilo_stream_processors.engine.pieces import Cutter, Lines, Piece
from nilo_stream_processors.engine.plan import plan
from nilo_stream_processors.engine.source import (
    SourceState,
    changes,
    everything,
    restore,
    source_state,
)
from nilo_stream_processors.replay.manifest import Manifest
from nilo_stream_processors.replay.rows import Rows, Store, Stretch


@dataclass(frozen=True)
class Read:
    """How far a source has been read: the next offset, and what did not decode by then.

    `piece` is what came of it; None when there was nothing to be taken in.
    """

    source: Source
    next: int
    unread: Counter[Reason]
    piece: Piece | None
    ended: bool = False


@dataclass(frozen=True)
class Kept:
    """The state of a source: how far it is as JSON, and its cells."""

    header: dict[str, Any]
    cells: pa.RecordBatch


@dataclass(frozen=True)
class Pace:
    """How fast is read: pieces of so much event time (µs) at most, so many events a second."""

    beat: int | None = None
    rate: float | None = None

    def shared(self, count: int) -> Pace:
        """The share of one of so many who read."""
        return Pace(self.beat, self.rate and self.rate / count)


class Reading:
    """Reads the stretches of a replay, or some of them.

    Args:
        manifest: of the replay.
        catalogue: its metrics.
        store: where the events are.
        stretches: which are to be read here.
        kept: states of an earlier run, by source.
        pace: how fast; None for a rate: as fast as it goes.
    """

    def __init__(
        self,
        manifest: Manifest,
        catalogue: Catalogue,
        store: Store,
        stretches: list[Stretch],
        *,
        kept: Mapping[Source, Kept],
        pace: Pace,
    ) -> None:
        self._pace = pace
        self._open = {
            stretch.source: _Open(
                manifest, catalogue, store, stretch, kept.get(stretch.source), beat=pace.beat
            )
            for stretch in stretches
        }

    def reads(self) -> Iterator[list[Read]]:
        """All that there is to read, some at a time, until each source has ended."""
        begin, events = time.monotonic(), 0
        while self._open:
            source = min(self._open, key=lambda each: (self._open[each].state.watermark, each))
            found = list(self._open[source].step())
            if found[-1].ended:
                del self._open[source]
            yield found
            events += sum(read.piece.taken.rows for read in found if read.piece)
            if self._pace.rate is not None:
                time.sleep(max(0.0, begin + events / self._pace.rate - time.monotonic()))

    def sources(self) -> list[Source]:
        """Those that have not ended."""
        return list(self._open)

    def rest(self) -> list[Read]:
        """What was read and is in no piece yet: before `kept`."""
        return [read for one in self._open.values() for read in one.rest()]

    def kept(self) -> dict[Source, Kept]:
        """The states of the sources that have not ended, behind what `reads` and `rest` gave."""
        return {source: one.kept() for source, one in self._open.items()}


class _Open:
    """A source that is being read."""

    def __init__(
        self,
        manifest: Manifest,
        catalogue: Catalogue,
        store: Store,
        stretch: Stretch,
        kept: Kept | None,
        *,
        beat: int | None,
    ) -> None:
        groupings = plan(catalogue.of_event(stretch.source[0]), manifest.rules.series_cap)
        self.state: SourceState = source_state(groupings)
        self._source, self._range = stretch.source, manifest.range
        self._grace, self._next = manifest.rules.grace, stretch.first
        self._cutter = Cutter(
            self.state, self._source, manifest.rules.bounds(), Lines.of(groupings), beat
        )
        # A session whose events lie on both sides of the begin is seen to have begun before it.
        self._begin = self._range.begin() - max((one.gap for one in groupings), default=0)
        self._left_out = np.array(
            [offset for *source, offset in self._range.left_out if tuple(source) == self._source],
            np.int64,
        )
        if kept is not None:
            self._restore(kept)
        left = Stretch(stretch.source, self._next, stretch.stop)
        self._rows = store.read(left) if left.first < left.stop else iter(())

    def step(self) -> Iterator[Read]:
        """What the next rows are."""
        rows = next(self._rows, None)
        if rows is None or self._is_past():
            yield from self.rest()
            yield Read(self._source, self._next, Counter(), None, ended=True)
            return
        self._next = rows.next
        chosen = self._chosen(rows)
        yield Read(self._source, self._next, rows.unread, None)
        if len(chosen.offsets):
            yield from self._reads(self._cutter.cut(chosen.batch, chosen.offsets, chosen.stamps))

    def _chosen(self, rows: Rows) -> Rows:
        """Without what is too old to count, nor makes another one late, and what came again."""
        wanted = np.isin(rows.offsets, self._left_out, invert=True)
        if self._range.since is not None:
            wanted &= ints(rows.batch.column("time")) >= self._begin
        if wanted.all():
            return rows
        places = np.flatnonzero(wanted)
        batch = rows.batch.take(pa.array(places))
        return Rows(batch, rows.offsets[places], rows.stamps[places], rows.next, rows.unread)

    def rest(self) -> Iterator[Read]:
        """What was read and is in no piece yet."""
        return self._reads(self._cutter.rest())

    def _reads(self, pieces: Iterator[Piece]) -> Iterator[Read]:
        return (Read(self._source, self._next, Counter(), piece) for piece in pieces)

    def _is_past(self) -> bool:
        """Whether nothing that comes can count into the range any more."""
        until = self._range.until
        return until is not None and self.state.watermark >= until + self._grace

    def kept(self) -> Kept:
        """The state behind what was read last."""
        state = self.state
        whole = everything(state, self._source, changes(state, self._source))
        header = {
            "source": self._source, "next": self._next,
            "watermark": state.watermark, "last_offset": state.last_offset,
        }  # fmt: skip
        return Kept(header, arrow.to_arrow(whole))

    def _restore(self, kept: Kept) -> None:
        restore(self.state, arrow.from_arrow(kept.cells))
        self._next = kept.header["next"]
        self.state.watermark = kept.header["watermark"]
        self.state.last_offset = kept.header["last_offset"]
        self.state.idle = False
