"""The panes of a grouping: which cell an event falls into by its time and labels.

Series have numbers, and a pane is an array of slots by number: what was seen before is found
without looking at it one by one.
"""

from __future__ import annotations

from itertools import repeat

import numpy as np

from nilo_stream_processors.engine.arrays import Bools, Ints, distinct
from nilo_stream_processors.engine.cells import FIRST_CAPACITY, Cells
from nilo_stream_processors.engine.columns import Chosen, Columns
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.plan import Grouping
from nilo_stream_processors.engine.series import OTHER, text_of


class Panes:
    """Cells by pane and series; a pane takes `grouping.cap` series, the rest is `__other__`."""

    def __init__(self, grouping: Grouping) -> None:
        self.grouping = grouping
        self.cells = Cells(grouping.metrics)
        self._other = text_of([OTHER] * len(grouping.dimensions))
        # By pane: the slot of each series number, or -1; and how many there are.
        self._panes: dict[int, Ints] = {}
        self._counts: dict[int, int] = {}
        self._numbers: dict[str, int] = {}
        self._series = np.full(FIRST_CAPACITY, None, np.object_)
        self._uses = np.zeros(FIRST_CAPACITY, np.int64)
        self._free = list(range(FIRST_CAPACITY))

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
        found, members, _ = distinct(members * span + panes - first, len(series) * span)
        slots, capped = self._find(series, found // span, found % span + first)
        self.cells.add(slots[members], rows, columns)
        return int(capped[members].sum()) if capped.any() else 0

    def _find(self, series: list[str], which: Ints, panes: Ints) -> tuple[Ints, Bools]:
        """The slot of each (series, pane) in their order, and whether the cap made it `OTHER`'s."""
        known = map(self._numbers.get, series, repeat(-1))
        numbers = np.fromiter(known, np.int64, len(series))
        slots, capped = np.empty(len(which), np.int64), np.zeros(len(which), np.bool_)
        for pane in np.unique(panes).tolist():
            here = np.flatnonzero(panes == pane)
            slots[here], capped[here] = self._in_pane(pane, series, numbers, which[here])
        return slots, capped

    def _in_pane(
        self, pane: int, series: list[str], numbers: Ints, which: Ints
    ) -> tuple[Ints, Bools]:
        held = self._slots_of(pane)
        slots = np.where(numbers[which] >= 0, held[numbers[which]], -1)
        capped = np.zeros(len(which), np.bool_)
        missing = np.flatnonzero(slots < 0)
        if len(missing):
            room = self._room(pane, len(missing))
            new, over = missing[:room], missing[room:]
            for number in which[new][numbers[which[new]] < 0].tolist():
                numbers[number] = self._number(series[number])
            slots[new] = self._open(pane, numbers[which[new]])
            if len(over):
                slots[over], capped[over] = self._slot_of_other(pane), True
        return slots, capped

    def _room(self, pane: int, wanted: int) -> int:
        if not self.grouping.dimensions:
            return wanted
        return max(self.grouping.cap - self._counts[pane], 0)

    def _slots_of(self, pane: int) -> Ints:
        """The slots of a pane by series number, with room for every number."""
        held = self._panes.get(pane)
        if held is None or len(held) < len(self._series):
            wider = np.full(len(self._series), -1)
            if held is not None:
                wider[: len(held)] = held
            held = self._panes[pane] = wider
            self._counts.setdefault(pane, 0)
        return held

    def _number(self, text: str) -> int:
        """The number of a series, which is given one when it has none."""
        number = self._numbers.get(text)
        if number is None:
            if not self._free:
                self._grow()
            number = self._numbers[text] = self._free.pop()
            self._series[number] = text
        return number

    def _grow(self) -> None:
        more = len(self._series)
        self._free = list(range(more, 2 * more))
        self._series = np.concatenate([self._series, np.full(more, None, np.object_)])
        self._uses = np.concatenate([self._uses, np.zeros(more, np.int64)])

    def _open(self, pane: int, numbers: Ints) -> Ints:
        """New cells of these series; returns their slots."""
        length = self.grouping.pane
        starts = np.full(len(numbers), pane * length)
        slots = self.cells.new(self._series[numbers], starts, starts + length)
        self._slots_of(pane)[numbers] = slots
        self._uses[numbers] += 1
        self._counts[pane] += len(numbers)
        return slots

    def _slot_of_other(self, pane: int) -> int:
        number = self._number(self._other)
        slot = int(self._slots_of(pane)[number])
        return slot if slot >= 0 else int(self._open(pane, np.array([number]))[0])

    def restore(self, stored: Partials) -> None:
        """Join stored cells of one metric in; finer panes of an earlier catalogue fall together."""
        panes = (stored.start // self.grouping.pane).tolist()
        slots = [
            self._restored(self._number(series), pane)
            for series, pane in zip(stored.series.tolist(), panes, strict=True)
        ]
        self.cells.join(np.array(slots, np.int64), str(stored.metric[0]), stored)
        # What was published in panes of another length is published in ours.
        self.cells.dirty[slots] |= stored.pane != self.grouping.pane

    def _restored(self, number: int, pane: int) -> int:
        slot = int(self._slots_of(pane)[number])
        return slot if slot >= 0 else int(self._open(pane, np.array([number]))[0])

    def expire(self, watermark: int, grace: int) -> None:
        """Forget the panes that no event of this source partition can reach any more."""
        length, gone = self.grouping.pane, []
        for pane in [k for k in self._panes if (k + 1) * length + grace <= watermark]:
            held = self._panes.pop(pane)
            del self._counts[pane]
            numbers = np.flatnonzero(held >= 0)
            gone.append(held[numbers])
            self._uses[numbers] -= 1
            self._forget(numbers[self._uses[numbers] == 0])
        if gone:
            self.cells.remove(np.concatenate(gone))

    def _forget(self, numbers: Ints) -> None:
        for text in self._series[numbers].tolist():
            del self._numbers[text]
        self._series[numbers] = None
        self._free += numbers.tolist()
