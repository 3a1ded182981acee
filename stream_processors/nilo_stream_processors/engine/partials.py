"""Partials: snapshots of cells as columns, as they travel on `metrics.partials` and are stored.

A later partial of the same cell and source replaces an earlier one. One that holds no events
withdraws the cell: a session that grew at its beginning, or was joined to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa

from nilo_stream_processors.engine import sums
from nilo_stream_processors.engine.arrays import Bools, Ints, Texts, constant, joined, taken
from nilo_stream_processors.engine.tallies import Bins, spans
from nilo_stream_processors.engine.texts import NAME, arrow_texts, texts_of

_INT_LIST = pa.list_(pa.int64())
_TEXTS = ("metric", "series", "topic")
_INTS = ("partition", "pane", "gap", "start", "end", "level")
_KEY = (*_TEXTS, "partition", "pane", "gap", "start", "level")
_BINS = ("buckets", "registers")
SCHEMA = pa.schema(
    {
        "metric": NAME,
        "series": pa.string(),
        "topic": NAME,
        **dict.fromkeys((*_INTS, *sums.FIELDS), pa.int64()),
        **{f"{name}{part}": _INT_LIST for name in _BINS for part in ("", "_counts")},
    }
)


@dataclass(frozen=True)
class Partials:
    """Many partials as columns of equal length.

    `series` is the text of the labels (see `series.text_of`); `topic` and `partition` name the
    source; `pane` and `gap` say what kind of cell it is (see `plan.Grouping`); `start` and `end`
    are in microseconds, for a session those of its first and last event. `level` is 0 for what
    came in time; of what came behind the end of its pane, the last end of a pane that the watermark
    had passed by then: a window that ends there or earlier was closed without it. `sums` has shape
    (fields, length).
    """

    metric: Texts
    series: Texts
    topic: Texts
    partition: Ints
    pane: Ints
    gap: Ints
    start: Ints
    end: Ints
    level: Ints
    sums: Ints
    buckets: Bins
    registers: Bins

    def __len__(self) -> int:
        return len(self.metric)

    def take(self, rows: Ints | Bools) -> Partials:
        """The given rows, by number or by a mask."""
        if rows.dtype == np.bool_ and rows.all():
            return self
        numbers: Ints = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64)
        columns = [getattr(self, field.name) for field in fields(self)]
        return Partials(*(_taken(column, numbers) for column in columns))

    def stretches(self, edges: Ints) -> list[Self]:
        """The rows from each edge to the next one, as views; edges are rising."""
        columns = [_cut(getattr(self, field.name), edges) for field in fields(self)]
        return [type(self)(*parts) for parts in zip(*columns, strict=True)]

    def newest(self) -> Partials:
        """The last row of each cell and source."""
        rows = zip(*(getattr(self, name).tolist() for name in _KEY), strict=True)
        last = {key: row for row, key in enumerate(rows)}
        return self.take(np.fromiter(last.values(), np.int64, len(last)))

    @classmethod
    def joined(cls, parts: Sequence[Partials]) -> Partials:
        """Several one after another; of nothing, an empty one."""
        parts = parts or [from_arrow(pa.RecordBatch.from_pylist([], SCHEMA))]
        if len(parts) == 1:
            return parts[0]
        columns = ([getattr(part, field.name) for part in parts] for field in fields(cls))
        return cls(*(_joined(column) for column in columns))


def withdrawals(
    metric: str, sessions: tuple[Texts, Ints], source: tuple[str, int], gap: int, offset: int
) -> Partials:
    """Partials without events: the sessions of these series and starts are no more."""
    series, start = sessions
    count = len(series)
    block = sums.empty(count)
    block[sums.LAST] = offset
    none = Bins(np.zeros(count, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))
    names = constant(metric, count), series, constant(source[0], count)
    where = constant(source[1], count), constant(0, count), constant(gap, count)
    return Partials(*names, *where, start, start, constant(0, count), block, none, none)


def _taken(column: Any, rows: Ints) -> Any:
    if not isinstance(column, Bins):
        return taken(column, rows)
    begin = np.cumsum(column.lengths) - column.lengths
    places = spans(begin[rows], column.lengths[rows])
    return Bins(column.lengths[rows], column.bins[places], column.counts[places])


def _cut(column: Any, edges: Ints) -> list[Any]:
    pairs = list(pairwise(edges.tolist()))
    if not isinstance(column, Bins):
        return [column[..., first:last] for first, last in pairs]
    ends = np.concatenate([[0], np.cumsum(column.lengths)])[edges].tolist()
    return [
        Bins(column.lengths[first:last], column.bins[begin:end], column.counts[begin:end])
        for (first, last), (begin, end) in zip(pairs, pairwise(ends), strict=True)
    ]


def _joined(columns: list[Any]) -> Any:
    if not isinstance(columns[0], Bins):
        return joined(columns)
    return Bins(
        *(
            np.concatenate([getattr(one, part) for one in columns])
            for part in ("lengths", "bins", "counts")
        )
    )


def to_arrow(partials: Partials) -> pa.RecordBatch:
    """The partials as an Arrow batch of SCHEMA."""
    columns = [arrow_texts(getattr(partials, name), SCHEMA.field(name).type) for name in _TEXTS]
    columns += [pa.array(getattr(partials, name)) for name in _INTS]
    columns += [pa.array(row) for row in partials.sums]
    for name in _BINS:
        bins = getattr(partials, name)
        ends = pa.array(np.concatenate([[0], np.cumsum(bins.lengths)]), pa.int32())
        columns += [
            pa.ListArray.from_arrays(ends, pa.array(part)) for part in (bins.bins, bins.counts)
        ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def from_arrow(batch: pa.RecordBatch) -> Partials:
    """The partials of an Arrow batch of SCHEMA."""
    columns: list[Any] = [
        *(texts_of(batch.column(name)) for name in _TEXTS),
        *(_ints(batch.column(name)) for name in _INTS),
        np.stack([_ints(batch.column(name)) for name in sums.FIELDS]),
        *(_bins(batch, name) for name in _BINS),
    ]
    return Partials(*columns)


def _ints(column: pa.Array) -> Ints:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)


def _bins(batch: pa.RecordBatch, name: str) -> Bins:
    bins, counts = batch.column(name), batch.column(f"{name}_counts")
    return Bins(_ints(bins.value_lengths()), _ints(bins.flatten()), _ints(counts.flatten()))
