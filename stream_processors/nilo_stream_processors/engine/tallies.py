"""Sparse integers by (slot, bin): the buckets of histograms and the registers of sketches.

New ones are only noted; they are put in order when they are asked for, once per commit, so a
batch costs no search. The bins of a slot lie together and in order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nilo_stream_processors.engine.arrays import CHEAP_SPACE, Bools, Ints

BIN_BITS = 24
BIAS = 1 << (BIN_BITS - 1)
# So many notes are put in order at once: memory does not grow until the next commit.
MOST_NOTES = 1_000_000


@dataclass(frozen=True)
class Bins:
    """Bins of several slots: `lengths` says how many belong to each slot, in order."""

    lengths: Ints
    bins: Ints
    counts: Ints


class Tallies:
    """Integers by slot and bin, joined by a ufunc: added, or the larger one kept."""

    def __init__(self, join: np.ufunc = np.add) -> None:
        self._join = join
        self._keys = np.empty(0, np.int64)
        self._counts = np.empty(0, np.int64)
        self._notes: list[tuple[Ints, Ints]] = []
        self._noted = 0

    def add(self, slots: Ints, bins: Ints, counts: Ints) -> None:
        """Take in one integer for each row; bins lie between -2**23 and 2**23 - 1."""
        if not len(slots):
            return
        note = reduced((slots << BIN_BITS) + (bins + BIAS), counts, self._join)
        self._notes.append(note)
        self._noted += len(note[0])
        if self._noted > MOST_NOTES:
            self._settle()

    def of(self, slots: Ints) -> Bins:
        """The bins of the given slots, which must be in rising order and distinct."""
        self._settle()
        begin = np.searchsorted(self._keys, slots << BIN_BITS)
        lengths = np.searchsorted(self._keys, (slots + 1) << BIN_BITS) - begin
        places = spans(begin, lengths)
        bins = (self._keys[places] & (2 * BIAS - 1)) - BIAS
        return Bins(lengths, bins, self._counts[places])

    def drop(self, gone: Bools) -> None:
        """Forget the bins of the slots that are marked."""
        self._keys, self._counts = _without(gone, self._keys, self._counts)
        notes = [_without(gone, *note) for note in self._notes]
        self._notes = [note for note in notes if len(note[0])]

    def _settle(self) -> None:
        if self._notes:
            keys = np.concatenate([self._keys, *(keys for keys, _ in self._notes)])
            counts = np.concatenate([self._counts, *(counts for _, counts in self._notes)])
            self._keys, self._counts = _sorted(keys, counts, self._join)
            self._notes, self._noted = [], 0


def _without(gone: Bools, keys: Ints, counts: Ints) -> tuple[Ints, Ints]:
    keep = ~gone[keys >> BIN_BITS]
    return keys[keep], counts[keep]


def spans(begin: Ints, lengths: Ints) -> Ints:
    """The places begin[0], begin[0] + 1 … of several stretches, one after another."""
    ends = np.cumsum(lengths)
    places: Ints = np.arange(int(lengths.sum())) + np.repeat(begin - (ends - lengths), lengths)
    return places


def reduced(keys: Ints, counts: Ints, join: np.ufunc) -> tuple[Ints, Ints]:
    """Distinct keys in rising order, and the joined counts of each; counts are above zero."""
    least = int(keys.min())
    space = int(keys.max()) - least + 1
    if space > CHEAP_SPACE + 4 * len(keys):
        return _sorted(keys, counts, join)
    joined = np.zeros(space, np.int64)
    join.at(joined, keys - least, counts)
    present = np.flatnonzero(joined)
    return present + least, joined[present]


def _sorted(keys: Ints, counts: Ints, join: np.ufunc) -> tuple[Ints, Ints]:
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    edges = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    return keys[edges], join.reduceat(counts, edges)
