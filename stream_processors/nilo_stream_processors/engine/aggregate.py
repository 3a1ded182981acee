"""Stage 1: the events of one source partition become cells, and its watermark moves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from nilo_schemas.catalogue import Metric, window_length
from nilo_stream_processors.engine.cells import CellKey, Cells, add_rows
from nilo_stream_processors.engine.columns import Bools, Ints, MetricRows, metric_rows

NO_WATERMARK = 0
MICROSECONDS = 1_000_000


@dataclass
class SourceState:
    """What a source partition has become so far.

    `watermark` (microseconds) is the largest event time seen less the allowed disorder; it never
    goes back. `recovered_offset` is the last offset that recovered cells may already contain.
    """

    watermark: int = NO_WATERMARK
    last_offset: int = -1
    recovered_offset: int = -1
    idle: bool = False
    cells: Cells = field(default_factory=dict)
    dirty: set[CellKey] = field(default_factory=set)


@dataclass(frozen=True)
class Disorder:
    """How late events may come, in microseconds.

    `bound` is the disorder that the watermark allows for; `grace` is how long after its end a
    window still takes events, as revisions.
    """

    bound: int
    grace: int


def aggregate(
    state: SourceState,
    metrics: dict[str, Metric],
    batch: pa.RecordBatch,
    offsets: Ints,
    disorder: Disorder,
) -> Bools:
    """Add a batch of one source partition to its state; return which rows came too late.

    A row is late when the partition's own watermark, as it stood before that row, has passed the
    end of a window of the row by more than the grace: that window does not take it.

    Args:
        batch: decoded events in the order of their offsets.
        offsets: the offset of each row.
    """
    late = np.zeros(batch.num_rows, np.bool_)
    if not batch.num_rows:
        return late
    times = np.asarray(batch.column("time").cast(pa.int64()).to_numpy()).astype(np.int64)
    before = _watermarks(times, state.watermark, disorder.bound)
    replay = int(offsets[0]) <= state.recovered_offset
    for name, metric in metrics.items():
        rows = metric_rows(metric, batch, offsets)
        marks = before[np.searchsorted(offsets, rows.offsets)]
        for text in metric.windows:
            length = int(window_length(text).total_seconds()) * MICROSECONDS
            ends = rows.times - rows.times % length + length
            in_time = ends + disorder.grace > marks
            late[np.searchsorted(offsets, rows.offsets[~in_time])] = True
            state.dirty |= add_rows(
                state.cells, name, metric, _taken(rows, in_time), length, replay=replay
            )
    state.watermark = max(int(times.max()) - disorder.bound, state.watermark)
    state.last_offset = max(state.last_offset, int(offsets[-1]))
    state.idle = False
    return late


def _watermarks(times: Ints, watermark: int, bound: int) -> Ints:
    """The watermark as it stood before each row."""
    after = np.maximum.accumulate(np.maximum(times - bound, watermark))
    return np.concatenate([[watermark], after[:-1]])


def _taken(rows: MetricRows, in_time: Bools) -> MetricRows:
    return rows if in_time.all() else rows.only(in_time)


def expired(state: SourceState, grace: int) -> list[CellKey]:
    """Cells whose window no event of this partition can reach any more; they are removed."""
    gone = [key for key in state.cells if key.end + grace <= state.watermark]
    for key in gone:
        del state.cells[key]
        state.dirty.discard(key)
    return gone
