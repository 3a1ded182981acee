"""The panes of a grouping: which cell an event falls into by its time and labels."""

from __future__ import annotations

import json

import numpy as np

from nilo_stream_processors.engine.arrays import Bools, Ints, distinct
from nilo_stream_processors.engine.cells import Cells
from nilo_stream_processors.engine.columns import Chosen, Columns, Labels
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.plan import Grouping

OTHER = "__other__"


def series_text(labels: Labels) -> str:
    """The labels of a series as a JSON list."""
    return json.dumps(labels, separators=(",", ":"), ensure_ascii=False)


class Panes:
    """Cells by pane and series; a pane takes `grouping.cap` series, the rest is `__other__`."""

    def __init__(self, grouping: Grouping) -> None:
        self.grouping = grouping
        self.cells = Cells(grouping.metrics)
        self._panes: dict[int, dict[Labels, int]] = {}
        self._other: Labels = (OTHER,) * len(grouping.dimensions)

    def in_time(self, times: Ints, before: Ints, grace: int) -> Bools:
        """Which events still find their pane: watermarks stand `before` each of them."""
        pane = self.grouping.pane
        return times - times % pane + pane + grace > before

    def add(self, rows: Chosen, columns: Columns) -> int:
        """Add rows of a batch; returns how many of them fell to `__other__`."""
        pane = self.grouping.pane
        times = columns.times[rows]
        first = int(times.min()) // pane
        numbers, labels = columns.series(self.grouping.dimensions, rows)
        span = int(times.max()) // pane - first + 1
        combined = numbers * span + (times // pane - first)
        found, members, _ = distinct(combined, len(labels) * span)
        slots = np.empty(len(found), np.int64)
        capped = np.zeros(len(found), np.bool_)
        for index, number in enumerate(found.tolist()):
            series, place = divmod(number, span)
            slots[index], capped[index] = self._slot(labels[series], (first + place) * pane)
        self.cells.add(slots[members], rows, columns)
        return int(capped[members].sum()) if capped.any() else 0

    def _slot(self, labels: Labels, start: int) -> tuple[int, bool]:
        """The slot of a series in a pane, and whether it is that of `__other__` by the cap."""
        pane = self._panes.setdefault(start, {})
        slot = pane.get(labels)
        if slot is not None:
            return slot, False
        capped = bool(labels) and len(pane) >= self.grouping.cap
        if capped:
            labels = self._other
        if labels not in pane:
            pane[labels] = self.cells.new(series_text(labels), start, start + self.grouping.pane)
        return pane[labels], capped

    def restore(self, stored: Partials) -> None:
        """Join stored cells of one metric in; finer panes of an earlier catalogue fall together."""
        pane = self.grouping.pane
        starts = (stored.start // pane * pane).tolist()
        slots = [
            self._restored(tuple(json.loads(text)), start)
            for text, start in zip(stored.series, starts, strict=True)
        ]
        self.cells.join(np.array(slots, np.int64), str(stored.metric[0]), stored)

    def _restored(self, labels: Labels, start: int) -> int:
        pane = self._panes.setdefault(start, {})
        if labels not in pane:
            pane[labels] = self.cells.new(series_text(labels), start, start + self.grouping.pane)
        return pane[labels]

    def expire(self, watermark: int, grace: int) -> None:
        """Forget the panes that no event of this source partition can reach any more."""
        past = [start for start in self._panes if start + self.grouping.pane + grace <= watermark]
        self.cells.remove([slot for start in past for slot in self._panes.pop(start).values()])
