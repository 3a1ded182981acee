"""A cell: all that one source partition holds of one window of one series.

Cells are keyed by metric, window length, window start and dimensions. A batch is aggregated in
arrays and only the touched cells are visited one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nilo_schemas.catalogue import Metric
from nilo_stream_processors.engine.columns import Bools, Dimensions, Ints, MetricRows
from nilo_stream_processors.engine.histogram import Buckets, bucket_indexes


class CellKey(NamedTuple):
    """Which window of which series; times in microseconds since the epoch."""

    metric: str
    start: int
    end: int
    dimensions: Dimensions


@dataclass
class Cell:
    """The aggregate so far; sums, least and largest value are integers of `1 / value_scale`."""

    first_offset: int
    last_offset: int = -1
    count: int = 0
    errors: int = 0
    sum: int = 0
    low: int | None = None
    high: int | None = None
    buckets: Buckets = field(default_factory=Buckets)


Cells = dict[CellKey, Cell]


def add_rows(
    cells: Cells, name: str, metric: Metric, rows: MetricRows, length: int, *, replay: bool
) -> set[CellKey]:
    """Add rows to the tumbling windows of one length (microseconds); return the touched cells.

    With `replay`, rows at or below the last offset that their cell holds are skipped: the cell
    was recovered and contains them.
    """
    if not len(rows.times):
        return set()
    starts = rows.times - rows.times % length
    groups, members = np.unique(
        np.stack([rows.series, starts], axis=1), axis=0, return_inverse=True
    )
    keys = [
        CellKey(name, int(start), int(start) + length, rows.keys[int(series)])
        for series, start in groups
    ]
    members = members.reshape(-1)
    if replay:
        held = np.array([cells[key].last_offset if key in cells else -1 for key in keys])
        keep = rows.offsets > held[members]
        rows, members = rows.only(keep), members[keep]
    return _add_groups(cells, metric, _Grouped(rows, keys, members))


@dataclass(frozen=True)
class _Grouped:
    """Rows, the cells they fall into, and the number of each row's cell."""

    rows: MetricRows
    keys: list[CellKey]
    members: Ints

    def sums(self, values: Ints) -> Ints:
        sums = np.zeros(len(self.keys), np.int64)
        np.add.at(sums, self.members, values)
        return sums

    def least(self, values: Ints) -> Ints:
        least = np.full(len(self.keys), np.iinfo(np.int64).max)
        np.minimum.at(least, self.members, values)
        return least

    def only(self, chosen: Bools) -> _Grouped:
        return _Grouped(self.rows.only(chosen), self.keys, self.members[chosen])


def _add_groups(cells: Cells, metric: Metric, grouped: _Grouped) -> set[CellKey]:
    rows = grouped.rows
    counts = grouped.sums(rows.weights)
    errors = grouped.sums(rows.weights * rows.errors)
    first, last = grouped.least(rows.offsets), -grouped.least(-rows.offsets)
    touched = set()
    for index in np.flatnonzero(counts):
        key = grouped.keys[index]
        cell = cells.setdefault(key, Cell(first_offset=int(first[index])))
        cell.count += int(counts[index])
        cell.errors += int(errors[index])
        cell.last_offset = max(cell.last_offset, int(last[index]))
        touched.add(key)
    if rows.values is not None:
        _add_values(cells, grouped, rows.values)
        if "quantiles" in metric.aggregates:
            _add_buckets(cells, metric, grouped, rows.values)
    return touched


def _add_values(cells: Cells, grouped: _Grouped, values: Ints) -> None:
    sums = grouped.sums(values * grouped.rows.weights)
    lows, highs = grouped.least(values), -grouped.least(-values)
    for index in np.unique(grouped.members):
        cell = cells[grouped.keys[index]]
        low, high = int(lows[index]), int(highs[index])
        cell.sum += int(sums[index])
        cell.low = low if cell.low is None else min(cell.low, low)
        cell.high = high if cell.high is None else max(cell.high, high)


def _add_buckets(cells: Cells, metric: Metric, grouped: _Grouped, values: Ints) -> None:
    for kind, chosen in (("zero", values == 0), ("negative", values < 0)):
        if chosen.any():
            part = grouped.only(chosen)
            counts = part.sums(part.rows.weights)
            for index in np.flatnonzero(counts):
                buckets = cells[grouped.keys[index]].buckets
                setattr(buckets, kind, getattr(buckets, kind) + int(counts[index]))
    above = values > 0
    part = grouped.only(above)
    indexes = bucket_indexes(values[above] / metric.value_scale(), metric.histogram_scale)
    pairs, places = np.unique(
        np.stack([part.members, indexes], axis=1), axis=0, return_inverse=True
    )
    counts = np.zeros(len(pairs), np.int64)
    np.add.at(counts, places.reshape(-1), part.rows.weights)
    for (member, bucket), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        cells[grouped.keys[member]].buckets.counts[bucket] += count
