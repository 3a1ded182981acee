"""Entries of panes, and rests of panes: many series at the same few places."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from nilo_schemas.catalogue import Metric
from nilo_stream_processors.engine.arrays import Ints
from nilo_stream_processors.engine.entries import Entries
from nilo_stream_processors.engine.numbers import Numbers
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.series import Place, Slots, by_place


class PaneEntries(Entries):
    """Entries found by place, which is start, length, gap and level.

    `windows`, shape (grids, slots), holds the number of the window of each grid, or -1.

    Each source partition has numbers of its own: a series often lives in one of them only.
    """

    def __init__(self, name: str, metric: Metric, grids: int) -> None:
        super().__init__(name, metric)
        self.windows = np.full((grids, self.capacity), -1, np.int32)
        self._places: dict[int, Slots] = {}

    def remove(self, slots: Ints) -> None:
        """Give slots free."""
        super().remove(slots)
        self.windows[:, slots] = -1

    def rests(self, panes: Partials) -> Ints:
        """Join panes into the rests of their keys; returns the slots of these."""
        slots = self._taken(panes)
        self.join(slots, self.name, panes)
        self.live[slots] = self.dirty[slots] = True
        return slots

    def _find(self, partials: Partials) -> Ints:
        slots = np.full(len(partials), -1)
        for (partition, *place), rows in _places(partials):
            held = self._places.get(partition)
            if held is not None:
                numbers = held.numbers.find(partials.series[rows])
                slots[rows] = held.find(tuple(place), numbers)
        return slots

    def _taken(self, partials: Partials) -> Ints:
        slots = np.empty(len(partials), np.int64)
        for (partition, *place), rows in _places(partials):
            held = self._places.setdefault(partition, Slots(Numbers()))
            numbers = held.numbers.named(partials.series[rows])
            slots[rows] = held.taken(tuple(place), numbers, partial(self._at, partition))
        return slots

    def _at(self, partition: int, place: Place, numbers: Ints) -> Ints:
        """New entries of series of a partition; returns their slots."""
        start, length, gap, level = place
        texts = self._places[partition].numbers.texts[numbers]
        return self._new(texts, start, length, gap, level, partition)

    def _lose(self, slots: Ints) -> None:
        kind = self.partition, self.start, self.length, self.gap, self.level
        for (partition, *place), rows in by_place(*(column[slots] for column in kind)):
            held = self._places[partition]
            held.forget(tuple(place), self.series[slots[rows]])
            if not len(held.numbers):
                del self._places[partition]

    def _grow(self) -> None:
        super()._grow()
        more = np.full_like(self.windows, -1)
        self.windows = np.concatenate([self.windows, more], axis=1)


def _places(partials: Partials) -> Iterator[tuple[Place, Ints]]:
    return by_place(partials.partition, partials.start, partials.pane, partials.gap, partials.level)
