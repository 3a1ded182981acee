"""Slots: places in columns of equal length, which are taken, given back and taken again."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from nilo_stream_processors.engine.arrays import Ints

FIRST_CAPACITY = 64


class Pool:
    """Columns by slot, which grow to twice their length when no slot is free.

    `columns` has the type of each column, an attribute of its name; free slots hold zeros, and None
    in columns of objects.
    """

    columns: ClassVar[dict[str, type]] = {}

    def __init__(self) -> None:
        self.capacity = FIRST_CAPACITY
        for name, kind in self.columns.items():
            setattr(self, name, _blank(kind, FIRST_CAPACITY))
        self._free = list(range(FIRST_CAPACITY))[::-1]

    def __len__(self) -> int:
        return self.capacity - len(self._free)

    def allot(self, count: int) -> Ints:
        """Take so many free slots, small ones first."""
        while len(self._free) < count:
            self._grow()
        rest = len(self._free) - count
        slots = np.array(self._free[rest:][::-1], np.int64)
        del self._free[rest:]
        return slots

    def give_back(self, slots: Ints) -> None:
        """Give slots back, each once; their columns are emptied."""
        for name, kind in self.columns.items():
            getattr(self, name)[slots] = None if kind is object else 0
        self._free += slots[::-1].tolist()

    def _grow(self) -> None:
        more = self.capacity
        self._free = list(range(more, 2 * more))[::-1] + self._free
        self.capacity += more
        for name, kind in self.columns.items():
            column: Any = getattr(self, name)
            setattr(self, name, np.concatenate([column, _blank(kind, more)]))


def _blank(kind: type, count: int) -> np.ndarray[Any, Any]:
    return np.full(count, None if kind is object else 0, kind)
