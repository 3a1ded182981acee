"""Series: the text of their labels, numbers for these texts, and what they have where.

The text is the labels one behind the other; between them stands NUL, which no decoded text has
(nilo_schemas.holdable). A series has a number while something uses it, and what it has at a place
(a pane, a window) is found in an array by number: for many at once, without a look at each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nilo_stream_processors.engine.arrays import Ints, Texts
from nilo_stream_processors.engine.numbers import Numbers

SEPARATOR = "\0"
OTHER = "__other__"
Place = tuple[int, ...]
_Slots = np.ndarray[Any, np.dtype[np.int32]]


def text_of(labels: Sequence[str]) -> str:
    """The text of a series with these labels."""
    return SEPARATOR.join(labels)


def labels_of(series: str, dimensions: int) -> list[str]:
    """The labels of a series; it has none without dimensions."""
    return series.split(SEPARATOR) if dimensions else []


class Slots:
    """The slot that each series has at each place, as an array by number.

    An array is as long as its largest number asks for; behind its end stands -1 for series that
    have no number. A place is forgotten with its last series.
    """

    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self._slots: dict[Place, _Slots] = {}
        self._counts: dict[Place, int] = {}

    def places(self) -> list[Place]:
        """The places that have series."""
        return list(self._slots)

    def count(self, place: Place) -> int:
        """How many series a place has."""
        return self._counts.get(place, 0)

    def find(self, place: Place, numbers: Ints) -> Ints:
        """The slot of each series at a place, or -1; also for the number -1."""
        held = self._slots.get(place)
        if held is None:
            return np.full(len(numbers), -1)
        # -1 is the last place, where nothing is ever written.
        return held[np.minimum(numbers, len(held) - 1)].astype(np.int64)

    def put(self, place: Place, numbers: Ints, slots: Ints) -> None:
        """Give series that have none at this place a slot; each number at most once."""
        self._with_room(place, int(numbers.max(initial=-1)))[numbers] = slots
        self._counts[place] = self.count(place) + len(numbers)
        self.numbers.use(numbers)

    def taken(self, place: Place, numbers: Ints, make: Callable[[Place, Ints], Ints]) -> Ints:
        """The slot of each series at a place.

        Args:
            make: makes slots for those that have none, given by their numbers.
        """
        slots = self.find(place, numbers)
        missing = np.flatnonzero(slots < 0)
        if len(missing):
            new = _distinct(numbers[missing])
            self.put(place, new, make(place, new))
            slots[missing] = self.find(place, numbers[missing])
        return slots

    def forget(self, place: Place, series: Texts) -> None:
        """Forget series that have a slot at a place, each given once."""
        if len(series) == self._counts[place]:
            self.clear(place)
        else:
            self._drop(place, self.numbers.find(series))

    def clear(self, place: Place) -> Ints:
        """Forget all series of a place; returns their slots."""
        held = self._slots[place]
        numbers = np.flatnonzero(held >= 0)
        slots = held[numbers].astype(np.int64)
        self._drop(place, numbers)
        return slots

    def _drop(self, place: Place, numbers: Ints) -> None:
        self._slots[place][numbers] = -1
        self._counts[place] -= len(numbers)
        self.numbers.release(numbers)
        if not self._counts[place]:
            del self._slots[place], self._counts[place]

    def _with_room(self, place: Place, number: int) -> _Slots:
        held = self._slots.get(place)
        if held is None or len(held) < number + 2:
            length = min(2 * (number + 1), self.numbers.capacity) + 1
            wider = np.full(length, -1, np.int32)
            if held is not None:
                wider[: len(held)] = held
            held = self._slots[place] = wider
        return held


def _distinct(numbers: Ints) -> Ints:
    present = np.zeros(int(numbers.max()) + 1, np.bool_)
    present[numbers] = True
    return np.flatnonzero(present)


def by_place(*columns: Ints) -> Iterator[tuple[Place, Ints]]:
    """The rows of each place, which is a combination of values, in rising order."""
    order = np.lexsort(columns)
    edges = np.zeros(len(order), np.bool_)
    for column in columns:
        edges[1:] |= np.diff(column[order]) != 0
    for rows in np.split(order, np.flatnonzero(edges)):
        if len(rows):
            yield tuple(int(column[rows[0]]) for column in columns), rows
