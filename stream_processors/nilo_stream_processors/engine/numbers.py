"""Numbers of series: a text has one while something uses it.

Texts are found by a hash table in arrays, for many at once: a dict of many texts answers from
memory that no cache holds, one text after another, and that took most of the time of a batch.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nilo_stream_processors.engine.arrays import Ints, Texts
from nilo_stream_processors.engine.pool import Pool

# A place of the table holds the upper half of a text's hash, and below it the number and 1.
_LOWER = (1 << 32) - 1
# So many places for each number: chains stay short.
_PLACES = 4


class Numbers(Pool):
    """Numbers of series, small ones first; `texts` has the text of each number, or None."""

    columns: ClassVar = {"texts": object, "hashes": int, "uses": int}
    texts: Texts
    hashes: Ints
    uses: Ints

    def __init__(self) -> None:
        super().__init__()
        self._table = np.zeros(_PLACES * self.capacity, np.int64)

    def find(self, series: Texts) -> Ints:
        """The number of each series, or -1."""
        return self._find(series, _hashes(series))

    def named(self, series: Texts) -> Ints:
        """The number of each series; those that have none get one, which is to be used."""
        hashes = _hashes(series)
        numbers = self._find(series, hashes)
        missing = np.flatnonzero(numbers < 0)
        if len(missing):
            one = dict(zip(series[missing].tolist(), missing.tolist(), strict=True))
            rows = np.fromiter(one.values(), np.int64, len(one))
            self._add(series[rows], hashes[rows])
            numbers[missing] = self._find(series[missing], hashes[missing])
        return numbers

    def _find(self, series: Texts, hashes: Ints) -> Ints:
        found = np.full(len(series), -1)
        rows, places = np.arange(len(series)), hashes & (len(self._table) - 1)
        while len(rows):
            held = self._table[places]
            same = np.flatnonzero(((held ^ hashes[rows]) >> 32 == 0) & (held != 0))
            numbers = (held[same] & _LOWER) - 1
            equal = self.texts[numbers] == series[rows[same]]
            found[rows[same[equal]]] = numbers[equal]
            others = held != 0
            others[same[equal]] = False
            rows, places = rows[others], (places[others] + 1) & (len(self._table) - 1)
        return found

    def _add(self, texts: Texts, hashes: Ints) -> None:
        numbers = self.allot(len(texts))
        self.texts[numbers], self.hashes[numbers] = texts, hashes
        self._enter(numbers)

    def _enter(self, numbers: Ints) -> None:
        """Put numbers into the table, each behind those that are there already."""
        hashes = self.hashes[numbers]
        entries = (hashes & ~_LOWER) | (numbers + 1)
        places = hashes & (len(self._table) - 1)
        while len(entries):
            empty = self._table[places] == 0
            self._table[places[empty]] = entries[empty]
            # Of several at one place the last one has it.
            rest = self._table[places] != entries
            entries, places = entries[rest], (places[rest] + 1) & (len(self._table) - 1)

    def use(self, numbers: Ints) -> None:
        """Series are used once more; each number at most once."""
        self.uses[numbers] += 1

    def release(self, numbers: Ints) -> None:
        """Series are used once less; each number at most once. Unused ones are forgotten."""
        self.uses[numbers] -= 1
        gone = numbers[self.uses[numbers] == 0]
        if len(gone):
            self.give_back(gone)
            self._rebuild()

    def _grow(self) -> None:
        super()._grow()
        self._rebuild()

    def _rebuild(self) -> None:
        self._table = np.zeros(_PLACES * self.capacity, np.int64)
        self._enter(np.flatnonzero(self.texts != None))  # noqa: E711  it is compared by element


def _hashes(texts: Texts) -> Ints:
    return np.fromiter(map(hash, texts.tolist()), np.int64, len(texts))
