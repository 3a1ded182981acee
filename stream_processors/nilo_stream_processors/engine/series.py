"""Series: the text of their labels, numbers for these texts, and what they have where.

The text is the labels one behind the other; between them stands NUL, which no decoded text has
(nilo_schemas.holdable). A series has a number while something uses it, and what it has at a place
(a pane, a window) is found in an array by number: for many at once, without a look at each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from nilo_stream_processors.engine.arrays import Ints
from nilo_stream_processors.engine.partials import Texts

SEPARATOR = "\0"
OTHER = "__other__"
FIRST_NUMBERS = 64
Place = tuple[int, ...]
_Slots = np.ndarray[Any, np.dtype[np.int32]]


def text_of(labels: Sequence[str]) -> str:
    """The text of a series with these labels."""
    return SEPARATOR.join(labels)


def labels_of(series: str, dimensions: int) -> list[str]:
    """The labels of a series; it has none without dimensions."""
    return series.split(SEPARATOR) if dimensions else []


class Numbers:
    """Numbers of series, small ones first; `texts` has the text of each number, or None."""

    def __init__(self) -> None:
        self.texts: Texts = np.full(FIRST_NUMBERS, None, np.object_)
        self._uses = np.zeros(FIRST_NUMBERS, np.int64)
        self._found: dict[str, int] = {}
        self._free = list(range(FIRST_NUMBERS))[::-1]

    def __len__(self) -> int:
        return len(self._found)

    def find(self, series: Sequence[str]) -> Ints:
        """The number of each series, or -1."""
        return np.fromiter(map(self._found.get, series, repeat(-1)), np.int64, len(series))

    def named(self, series: Sequence[str]) -> Ints:
        """The number of each series; those that have none get one, which is to be used."""
        numbers = self.find(series)
        missing = np.flatnonzero(numbers < 0).tolist()
        if missing:
            texts = [series[row] for row in missing]
            self._add(list(dict.fromkeys(texts)))
            numbers[missing] = self.find(texts)
        return numbers

    def _add(self, texts: list[str]) -> None:
        while len(self._free) < len(texts):
            self._grow()
        rest = len(self._free) - len(texts)
        numbers = self._free[rest:][::-1]
        del self._free[rest:]
        self._found.update(zip(texts, numbers, strict=True))
        self.texts[numbers] = texts

    def use(self, numbers: Ints) -> None:
        """Series are used once more; each number at most once."""
        self._uses[numbers] += 1

    def release(self, numbers: Ints) -> None:
        """Series are used once less; each number at most once. Unused ones are forgotten."""
        self._uses[numbers] -= 1
        gone = numbers[self._uses[numbers] == 0]
        for text in self.texts[gone].tolist():
            del self._found[text]
        self.texts[gone] = None
        self._free += gone.tolist()

    def _grow(self) -> None:
        more = len(self.texts)
        self._free = list(range(more, 2 * more))[::-1] + self._free
        self.texts = np.concatenate([self.texts, np.full(more, None, np.object_)])
        self._uses = np.concatenate([self._uses, np.zeros(more, np.int64)])


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

    def forget(self, place: Place, series: Sequence[str]) -> None:
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
            length = min(2 * (number + 1), len(self.numbers.texts)) + 1
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
