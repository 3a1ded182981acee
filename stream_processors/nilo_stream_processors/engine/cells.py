"""Cells: what one source partition holds of the panes and sessions of a grouping's metrics.

A cell has a slot, which is a place in arrays. All metrics of a grouping share the slots; each has
sums, histogram buckets and registers of its own.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nilo_schemas.catalogue import Metric
from nilo_stream_processors.engine import sums
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints, Texts, constant
from nilo_stream_processors.engine.columns import Chosen, Columns
from nilo_stream_processors.engine.histogram import bucket_indexes
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.pool import FIRST_CAPACITY, Pool
from nilo_stream_processors.engine.sketch import registers
from nilo_stream_processors.engine.tallies import Tallies


class MetricCells:
    """The cells of one metric: its sums, shape (fields, slots), and its sparse parts."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.sums = sums.empty(FIRST_CAPACITY)
        self.buckets = Tallies()
        self.registers = Tallies(np.maximum)
        self._scale = metric.value_scale()

    def add(self, slots: Ints, rows: Chosen, columns: Columns) -> None:
        """Add rows of a batch to the slots that they fall into."""
        valid = columns.valid(self.metric)
        if valid is not None:
            mine = valid[rows]
            slots = slots[mine]
            rows = np.flatnonzero(valid) if isinstance(rows, slice) else rows[mine]
        weights = columns.weights[rows]
        np.add.at(self.sums[sums.COUNT], slots, weights)
        np.minimum.at(self.sums[sums.FIRST], slots, columns.offsets[rows])
        np.maximum.at(self.sums[sums.LAST], slots, columns.offsets[rows])
        if self.metric.error_when:
            errors = columns.mask(self.metric.error_when)
            np.add.at(self.sums[sums.ERRORS], slots, weights * errors[rows])
        if self.metric.value is not None:
            self._add_values(slots, columns.values(self.metric)[rows], weights, columns.weighted)
        if self.metric.distinct is not None:
            self._add_distinct(slots, *columns.texts(self.metric.distinct), rows)

    def _add_values(self, slots: Ints, values: Ints, weights: Ints, weighted: bool) -> None:
        sums.add_values(self.sums, slots, values, weights if weighted else None)
        if "quantiles" not in self.metric.aggregates:
            return
        above = values > 0
        if not above.all():
            for field, chosen in ((sums.ZERO, values == 0), (sums.NEGATIVE, values < 0)):
                np.add.at(self.sums[field], slots[chosen], weights[chosen])
            slots, values, weights = slots[above], values[above], weights[above]
        scaled: Floats = values / self._scale
        self.buckets.add(slots, bucket_indexes(scaled, self.metric.histogram_scale), weights)

    def _add_distinct(self, slots: Ints, codes: Ints, texts: Texts, rows: Chosen) -> None:
        places, ranks = registers([text or "" for text in texts])
        known = np.array([text is not None for text in texts])[codes[rows]]
        chosen = codes[rows][known]
        self.registers.add(slots[known], places[chosen], ranks[chosen])


class Cells(Pool):
    """The cells of one grouping in one source partition.

    `series` is the text of a cell's labels, `start`, `end` and `level` (see `Partials`) are in
    microseconds; `dirty` marks the slots that changed since they were last published.
    """

    columns: ClassVar = {"series": object, "start": int, "end": int, "level": int, "dirty": bool}
    series: Texts
    start: Ints
    end: Ints
    level: Ints
    dirty: Bools

    def __init__(self, metrics: dict[str, Metric]) -> None:
        super().__init__()
        self.metrics = {name: MetricCells(metric) for name, metric in metrics.items()}

    def slots(self) -> Ints:
        """The slots that hold a cell, in rising order."""
        return np.flatnonzero(self.series != None)  # noqa: E711  an array is compared by element

    def new(self, series: Texts, start: Ints, end: Ints) -> Ints:
        """Empty cells; returns their slots."""
        slots = self.allot(len(series))
        self.series[slots], self.start[slots], self.end[slots] = series, start, end
        return slots

    def add(self, slots: Ints, rows: Chosen, columns: Columns) -> None:
        """Add rows of a batch to the slots that they fall into, for every metric."""
        for cells in self.metrics.values():
            cells.add(slots, rows, columns)
        self.dirty[slots] = True

    def join(self, slots: Ints, metric: str, others: Partials) -> None:
        """Join stored cells of a metric into the slots, one for each partial."""
        cells = self.metrics[metric]
        sums.join(cells.sums, slots, others.sums)
        for tallies, bins in ((cells.buckets, others.buckets), (cells.registers, others.registers)):
            tallies.add(np.repeat(slots, bins.lengths), bins.bins, bins.counts)

    def partials(self, slots: Ints, source: tuple[str, int], pane: int, gap: int) -> Partials:
        """Snapshots of the cells in the given slots (in rising order), of every metric.

        A cell without a value for any metric is told of once: it has its place under the cap.
        """
        held = np.stack([one.sums[sums.COUNT, slots] > 0 for one in self.metrics.values()])
        held[0] |= ~held.any(axis=0)
        return Partials.joined(
            [
                self.snapshots(name, slots[mine], source, (pane, gap))
                for name, mine in zip(self.metrics, held, strict=True)
            ]
        )

    def snapshots(
        self, name: str, slots: Ints, source: tuple[str, int], kind: tuple[int, int]
    ) -> Partials:
        """Snapshots of one metric; `kind` is the length of the pane and the gap."""
        cells, count = self.metrics[name], len(slots)
        block = cells.sums[:, slots]
        sums.carry(block)
        cells.sums[:, slots] = block
        return Partials(
            metric=constant(name, count),
            series=self.series[slots],
            topic=constant(source[0], count),
            partition=constant(source[1], count),
            pane=constant(kind[0], count),
            gap=constant(kind[1], count),
            start=self.start[slots],
            end=self.end[slots],
            level=self.level[slots],
            sums=block,
            buckets=cells.buckets.of(slots),
            registers=cells.registers.of(slots),
        )

    def move(self, slot: int, to: int) -> None:
        """Join one cell into another and forget it."""
        one = np.array([slot])
        for cells in self.metrics.values():
            sums.join(cells.sums, np.array([to]), cells.sums[:, one])
            for tallies in (cells.buckets, cells.registers):
                bins = tallies.of(one)
                tallies.add(np.full(len(bins.bins), to), bins.bins, bins.counts)
        self.remove(one)

    def remove(self, slots: Ints) -> None:
        """Forget cells; their slots may be taken again."""
        if not len(slots):
            return
        gone = np.zeros(self.capacity, np.bool_)
        gone[slots] = True
        for cells in self.metrics.values():
            cells.sums[:, gone] = sums.EMPTY[:, None]
            cells.buckets.drop(gone)
            cells.registers.drop(gone)
        self.give_back(slots)

    def _grow(self) -> None:
        more = self.capacity
        super()._grow()
        for cells in self.metrics.values():
            cells.sums = np.concatenate([cells.sums, sums.empty(more)], axis=1)
