"""A few of many records, spread evenly, of a stream whose length nobody knows before its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


@dataclass
class Sample(Generic[T]):
    """At most `limit` of what it is given (at least 1), evenly spread; it holds twice as many.

    Every `stride`-th is held; when there are too many, every second of these goes.
    """

    limit: int
    _held: list[T] = field(default_factory=list)
    _stride: int = 1
    _seen: int = 0

    def offer(self, records: Sequence[T]) -> None:
        """Give it the next ones."""
        self._held += records[-self._seen % self._stride :: self._stride]
        self._seen += len(records)
        while len(self._held) > 2 * self.limit:
            self._held = self._held[::2]
            self._stride *= 2

    def drawn(self) -> list[T]:
        """The sample of all that came: of n records min(n, limit), the first one among them."""
        if len(self._held) <= self.limit:
            return self._held
        places = np.linspace(0, len(self._held) - 1, self.limit).round().astype(int)
        return [self._held[place] for place in places]
