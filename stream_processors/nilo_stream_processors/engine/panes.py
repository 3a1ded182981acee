"""The panes of a grouping: which cell an event falls into by its time and labels.

Series have numbers, and what was seen before in a pane is found by them all at once.
"""

from __future__ import annotations

import numpy as np

from nilo_stream_processors.engine.arrays import Bools, Ints, Texts, distinct
from nilo_stream_processors.engine.cells import Cells
from nilo_stream_processors.engine.columns import Chosen, Columns
from nilo_stream_processors.engine.numbers import Numbers
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.plan import Grouping
from nilo_stream_processors.engine.series import OTHER, Place, Slots, by_place, text_of


class Panes:
    """Cells by pane and series; a pane takes `grouping.cap` series, the rest is `__other__`."""

    def __init__(self, grouping: Grouping) -> None:
        self.grouping = grouping
        self.cells = Cells(grouping.metrics)
        self._other = np.array([text_of([OTHER] * len(grouping.dimensions))], np.object_)
        # A pane is a place.
        self._slots = Slots(Numbers())

    def in_time(self, times: Ints, before: Ints, grace: int) -> Bools:
        """Which events still find their pane: watermarks stand `before` each of them."""
        pane = self.grouping.pane
        return times - times % pane + pane + grace > before

    def add(self, rows: Chosen, columns: Columns) -> int:
        """Add rows of a batch; returns how many of them fell to `__other__`."""
        panes = columns.times[rows] // self.grouping.pane
        first = int(panes.min())
        span = int(panes.max()) - first + 1
        members, series = columns.series(self.grouping.dimensions, rows)
        found, members = distinct(members * span + panes - first, len(series) * span)
        slots, capped = self._find(series, found // span, found % span + first)
        self.cells.add(slots[members], rows, columns)
        return int(capped[members].sum()) if capped.any() else 0

    def _find(self, series: Texts, which: Ints, panes: Ints) -> tuple[Ints, Bools]:
        """The slot of each (series, pane) in their order, and whether the cap made it `OTHER`'s."""
        numbers = self._slots.numbers.find(series)
        slots, capped = np.empty(len(which), np.int64), np.zeros(len(which), np.bool_)
        for pane, here in by_place(panes):
            slots[here], capped[here] = self._in_pane(pane, series, numbers, which[here])
        return slots, capped

    def _in_pane(
        self, pane: Place, series: Texts, numbers: Ints, which: Ints
    ) -> tuple[Ints, Bools]:
        slots = self._slots.find(pane, numbers[which])
        capped = np.zeros(len(which), np.bool_)
        missing = np.flatnonzero(slots < 0)
        if len(missing):
            room = self._room(pane, len(missing))
            new, over = missing[:room], missing[room:]
            nameless = which[new][numbers[which[new]] < 0]
            numbers[nameless] = self._slots.numbers.named(series[nameless])
            slots[new] = self._new(pane, numbers[which[new]])
            self._slots.put(pane, numbers[which[new]], slots[new])
            if len(over):
                other = self._whatever_the_cap(self._other, np.array(pane))
                slots[over], capped[over] = other, True
        return slots, capped

    def _room(self, pane: Place, wanted: int) -> int:
        if not self.grouping.dimensions:
            return wanted
        return max(self.grouping.cap - self._slots.count(pane), 0)

    def _new(self, place: Place, numbers: Ints) -> Ints:
        """Cells of these series in a pane; returns their slots."""
        length = self.grouping.pane
        starts = np.full(len(numbers), place[0] * length)
        return self.cells.new(self._slots.numbers.texts[numbers], starts, starts + length)

    def _whatever_the_cap(self, series: Texts, panes: Ints) -> Ints:
        """The slot of each series in its pane."""
        numbers, slots = self._slots.numbers.named(series), np.empty(len(series), np.int64)
        for pane, rows in by_place(panes):
            slots[rows] = self._slots.taken(pane, numbers[rows], self._new)
        return slots

    def restore(self, stored: Partials) -> None:
        """Join stored cells of one metric in; finer panes of an earlier catalogue fall together."""
        slots = self._whatever_the_cap(stored.series, stored.start // self.grouping.pane)
        self.cells.join(slots, str(stored.metric[0]), stored)
        # What was published in panes of another length is published in ours.
        self.cells.dirty[slots] |= stored.pane != self.grouping.pane

    def expire(self, watermark: int, grace: int) -> None:
        """Forget the panes that no event of this source partition can reach any more."""
        length = self.grouping.pane
        places = self._slots.places()
        past = [place for place in places if (place[0] + 1) * length + grace <= watermark]
        if past:
            self.cells.remove(np.concatenate([self._slots.clear(place) for place in past]))
