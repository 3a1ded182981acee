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
        # A place is a pane, and how many panes later than it an event came: 0 in time.
        self._slots = Slots(Numbers())

    def in_time(self, times: Ints, before: Ints, grace: int) -> Bools:
        """Which events still find their pane: watermarks stand `before` each of them."""
        pane = self.grouping.pane
        return times - times % pane + pane + grace > before

    def add(self, rows: Chosen, columns: Columns, before: Ints) -> int:
        """Add rows of a batch; returns how many of them fell to `__other__`."""
        panes = columns.times[rows] // self.grouping.pane
        # Before the end of its pane the watermark is at most in that pane.
        delays = np.maximum(before[rows] // self.grouping.pane - panes, 0)
        first, most = int(panes.min()), int(delays.max()) + 1
        span = (int(panes.max()) - first + 1) * most
        members, series = columns.series(self.grouping.dimensions, rows)
        places = (panes - first) * most + delays
        found, members = distinct(members * span + places, len(series) * span)
        places = found % span
        slots, capped = self._find(series, found // span, places // most + first, places % most)
        self.cells.add(slots[members], rows, columns)
        return int(capped[members].sum()) if capped.any() else 0

    def _find(self, series: Texts, which: Ints, panes: Ints, delays: Ints) -> tuple[Ints, Bools]:
        """The slot of each series at its place, and whether the cap made it `OTHER`'s."""
        numbers = self._slots.numbers.find(series)
        slots, capped = np.empty(len(which), np.int64), np.zeros(len(which), np.bool_)
        for place, here in by_place(panes, delays):
            slots[here], capped[here] = self._at(place, series, numbers, which[here])
        return slots, capped

    def _at(self, place: Place, series: Texts, numbers: Ints, which: Ints) -> tuple[Ints, Bools]:
        # Who comes in time and who comes late share the room in a pane.
        slots, capped = self._in_time((place[0], 0), series, numbers, which)
        if place[1]:
            named = ~capped
            slots[named] = self._slots.taken(place, numbers[which[named]], self._new)
            if capped.any():
                slots[capped] = self._of_others(place)
        return slots, capped

    def _in_time(
        self, place: Place, series: Texts, numbers: Ints, which: Ints
    ) -> tuple[Ints, Bools]:
        slots = self._slots.find(place, numbers[which])
        capped = np.zeros(len(which), np.bool_)
        missing = np.flatnonzero(slots < 0)
        if len(missing):
            room = self._room(place, len(missing))
            new, over = missing[:room], missing[room:]
            nameless = which[new][numbers[which[new]] < 0]
            numbers[nameless] = self._slots.numbers.named(series[nameless])
            slots[new] = self._new(place, numbers[which[new]])
            self._slots.put(place, numbers[which[new]], slots[new])
            if len(over):
                slots[over], capped[over] = self._of_others(place), True
        return slots, capped

    def _of_others(self, place: Place) -> Ints:
        return self._whatever_the_cap(self._other, *(np.array([each]) for each in place))

    def _room(self, place: Place, wanted: int) -> int:
        if not self.grouping.dimensions:
            return wanted
        return max(self.grouping.cap - self._slots.count(place), 0)

    def _new(self, place: Place, numbers: Ints) -> Ints:
        """Cells of these series at a place; returns their slots."""
        length, (pane, delay) = self.grouping.pane, place
        starts = np.full(len(numbers), pane * length)
        slots = self.cells.new(self._slots.numbers.texts[numbers], starts, starts + length)
        self.cells.level[slots] = (pane + delay) * length if delay else 0
        return slots

    def _whatever_the_cap(self, series: Texts, panes: Ints, delays: Ints) -> Ints:
        """The slot of each series at its place."""
        numbers, slots = self._slots.numbers.named(series), np.empty(len(series), np.int64)
        for place, rows in by_place(panes, delays):
            slots[rows] = self._slots.taken(place, numbers[rows], self._new)
        return slots

    def restore(self, stored: Partials) -> None:
        """Join stored cells of one metric in; finer panes of an earlier catalogue fall together."""
        panes = stored.start // self.grouping.pane
        delays = np.maximum(stored.level // self.grouping.pane - panes, 0)
        slots = self._whatever_the_cap(stored.series, panes, delays)
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
