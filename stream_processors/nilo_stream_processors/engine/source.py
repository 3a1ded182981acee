"""Stage 1: the events of one source partition become cells, and its watermark moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from nilo_stream_processors.engine import sums
from nilo_stream_processors.engine.arrays import Bools, Ints
from nilo_stream_processors.engine.columns import ALL, Columns, ints
from nilo_stream_processors.engine.panes import Panes
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.plan import Grouping
from nilo_stream_processors.engine.sessions import Sessions

NO_WATERMARK = 0


@dataclass(frozen=True)
class Bounds:
    """How early and late events may come, in microseconds.

    `disorder` is what the watermark allows for; `grace` is how long after its end a pane still
    takes events, as revisions; `future` is how far an event's time may lie after the time of its
    Kafka record: such a clock is wrong and must not move the watermark.
    """

    disorder: int
    grace: int
    future: int


@dataclass(frozen=True)
class Refused:
    """Rows that were not taken in, by their number in the batch, and why."""

    late: Ints
    future: Ints


@dataclass
class SourceState:
    """What a source partition has become so far.

    `watermark` (microseconds) is the largest event time seen less the allowed disorder; it never
    goes back. `last_offset` is that of the last event taken in or refused. `capped` counts the
    rows of each metric that fell to `__other__`, until somebody takes them.
    """

    parts: list[Panes | Sessions]
    watermark: int = NO_WATERMARK
    last_offset: int = -1
    idle: bool = False
    capped: Counter[str] = field(default_factory=Counter)


def source_state(groupings: list[Grouping]) -> SourceState:
    """The state of a source partition before its first event."""
    return SourceState([Panes(one) if one.pane else Sessions(one) for one in groupings])


def aggregate(
    state: SourceState, batch: pa.RecordBatch, offsets: Ints, stamps: Ints, bounds: Bounds
) -> Refused:
    """Add a batch of one source partition to its state.

    A row is late for a pane or session when the partition's own watermark, as it stood before
    that row, has passed its end by more than the grace.

    Args:
        batch: decoded events in the order of their offsets.
        offsets: the offset of each row.
        stamps: the time of each row's Kafka record, in microseconds.
    """
    future = ints(batch.column("time")) > stamps + bounds.future
    taken = np.flatnonzero(~future)
    if len(taken) < len(future):
        batch = batch.filter(pa.array(~future))
    late = np.zeros(len(taken), np.bool_)
    if len(taken):
        columns = Columns(batch, offsets[taken])
        before, state.watermark = _watermarks(columns.times, state.watermark, bounds.disorder)
        for part in state.parts:
            late |= _add(state, part, columns, before, bounds.grace)
    if len(offsets):
        state.last_offset = max(state.last_offset, int(offsets[-1]))
        state.idle = False
    return Refused(taken[late], np.flatnonzero(future))


def _watermarks(times: Ints, watermark: int, disorder: int) -> tuple[Ints, int]:
    """The watermark as it stood before each row, and behind the last one."""
    after = np.maximum.accumulate(np.maximum(times - disorder, watermark))
    return np.concatenate([[watermark], after[:-1]]), int(after[-1])


def _add(
    state: SourceState, part: Panes | Sessions, columns: Columns, before: Ints, grace: int
) -> Bools:
    """Add the rows that a part selects; returns which of them are late for it."""
    chosen = columns.mask(part.grouping.where)
    if part.grouping.gap:
        chosen = chosen & _measured(part, columns)
    in_time = part.in_time(columns.times, before, grace)
    taken = chosen & in_time
    if taken.any():
        capped = part.add(ALL if taken.all() else np.flatnonzero(taken), columns, before)
        if capped:
            state.capped.update(dict.fromkeys(part.grouping.metrics, capped))
    late = chosen & ~in_time
    return late & _measured(part, columns) if late.any() else late


def _measured(part: Panes | Sessions, columns: Columns) -> Bools:
    """The rows that at least one metric of the part has a value for."""
    measured = np.zeros(len(columns), np.bool_)
    for metric in part.grouping.metrics.values():
        valid = columns.valid(metric)
        measured |= True if valid is None else valid
    return measured


def changes(state: SourceState, source: tuple[str, int]) -> Partials:
    """Snapshots of all cells that changed since the last time; `source` is topic and partition."""
    return _snapshots(state, source, lambda part: np.flatnonzero(part.cells.dirty))


def everything(state: SourceState, source: tuple[str, int], changed: Partials) -> Partials:
    """Snapshots of all cells, and what is withdrawn among the changes."""
    withdrawn = changed.take((changed.gap > 0) & (changed.sums[sums.COUNT] == 0))
    cells = _snapshots(state, source, lambda part: part.cells.slots())
    return Partials.joined([cells, withdrawn])


def _snapshots(
    state: SourceState, source: tuple[str, int], choose: Callable[[Panes | Sessions], Ints]
) -> Partials:
    found = []
    for part in state.parts:
        slots = choose(part)
        if len(slots):
            found.append(part.cells.partials(slots, source, part.grouping.pane, part.grouping.gap))
        part.cells.dirty[:] = False
        if isinstance(part, Sessions):
            found.append(part.withdrawn(source, state.last_offset))
    return Partials.joined(found)


def expire(state: SourceState, grace: int) -> None:
    """Forget the cells that no event of this partition can reach any more."""
    for part in state.parts:
        part.expire(state.watermark, grace)


def restore(state: SourceState, stored: Partials) -> None:
    """Put stored cells, one partial for each, back into an empty state.

    Cells of a metric that the catalogue no longer has, or no longer as sessions of that gap, are
    dropped.
    """
    for part in state.parts:
        mine = stored.gap == part.grouping.gap
        if part.grouping.gap:
            mine &= stored.sums[sums.COUNT] > 0
        for name in part.grouping.metrics:
            rows = np.flatnonzero(mine & (stored.metric == name))
            if len(rows):
                part.restore(stored.take(rows))
