"""Entries: the snapshots of one metric that stage 2 holds.

An entry is a pane or session of one source partition; or the rest of forgotten panes, which is
their sum within one longer window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from typing import ClassVar

import numpy as np

from nilo_schemas.catalogue import Metric
from nilo_stream_processors.engine import sums
from nilo_stream_processors.engine.arrays import Bools, Ints, Texts
from nilo_stream_processors.engine.cells import Cells
from nilo_stream_processors.engine.partials import Partials

# Series, start, length (of the pane, of the window of a rest; 0 for sessions), gap, level and
# partition. The gap of a rest is the hop of its windows below zero.
Key = tuple[str, int, int, int, int, int]


class Entries(Cells):
    """Snapshots by key; a newer one takes the slot of the older one."""

    columns: ClassVar = Cells.columns | {
        "length": int, "partition": int, "gap": int, "live": bool,
    }  # fmt: skip
    length: Ints
    partition: Ints
    gap: Ints
    live: Bools

    def __init__(self, name: str, metric: Metric) -> None:
        super().__init__({name: metric})
        self.name, self.held = name, self.metrics[name]
        self._found: dict[Key, int] = {}

    def known(self, partials: Partials) -> Bools:
        """Which partials are of an entry that is held."""
        return self._find(partials) >= 0

    def put(self, partials: Partials) -> tuple[Ints, Bools]:
        """Take in snapshots that are newer than what is held.

        Returns:
            The slots of those taken in, each once, and which of them are of a new entry.
        """
        slots = self._taken(partials)
        offsets = partials.sums[sums.LAST]
        rows = _newest(slots, offsets, self.capacity)
        slots, offsets = slots[rows], offsets[rows]
        new = ~self.live[slots]
        fresh = new | (offsets > self.held.sums[sums.LAST, slots])
        slots, new, rows = slots[fresh], new[fresh], rows[fresh]
        self._replace(slots, new, partials.take(rows))
        self.live[slots] = self.dirty[slots] = True
        return slots, new

    def _replace(self, slots: Ints, new: Bools, partials: Partials) -> None:
        self.end[slots] = partials.end
        self.held.sums[:, slots] = partials.sums
        old = np.zeros(self.capacity, np.bool_)
        old[slots[~new]] = True
        parts = (self.held.buckets, partials.buckets), (self.held.registers, partials.registers)
        for tallies, bins in parts:
            tallies.drop(old)
            tallies.add(np.repeat(slots, bins.lengths), bins.bins, bins.counts)

    def _find(self, partials: Partials) -> Ints:
        """The slot of the entry of each partial, or -1."""
        found = map(self._found.get, _keys_of(partials), repeat(-1))
        return np.fromiter(found, np.int64, len(partials))

    def _taken(self, partials: Partials) -> Ints:
        """The slot of the entry of each partial; made when there is none."""
        slots = self._find(partials)
        if (slots < 0).any():
            keys = list(_keys_of(partials.take(slots < 0)))
            series, *place = zip(*dict.fromkeys(keys), strict=True)
            made = self._new(np.array(series, np.object_), *map(np.array, place))
            self._found.update(zip(dict.fromkeys(keys), made.tolist(), strict=True))
            slots[slots < 0] = [self._found[key] for key in keys]
        return slots

    def _new(self, series: Texts, *place: int | Ints) -> Ints:
        start, length, gap, level, partition = place
        starts: Ints = np.full(len(series), start)
        slots = self.new(series, starts, starts + length)
        self.length[slots], self.gap[slots], self.partition[slots] = length, gap, partition
        self.level[slots] = level
        return slots

    def forget(self, slots: Ints) -> None:
        """Forget entries, each given once."""
        self._lose(slots)
        self.remove(slots)

    def _lose(self, slots: Ints) -> None:
        """The entries in slots are not to be found any more."""
        columns = self.series, self.start, self.length, self.gap, self.level, self.partition
        for key in zip(*(column[slots].tolist() for column in columns), strict=True):
            del self._found[key]

    def slots(self) -> Ints:
        """The slots of entries, in rising order."""
        return np.flatnonzero(self.live)

    def stored(self, slots: Ints, topic: str) -> Partials:
        """The entries in slots as they are kept in the state."""
        kept = self.snapshots(self.name, slots, (topic, 0), (0, 0))
        return replace(
            kept, partition=self.partition[slots], pane=self.length[slots], gap=self.gap[slots]
        )


def _keys_of(partials: Partials) -> Iterator[Key]:
    """The key of each partial."""
    return zip(
        partials.series.tolist(),
        partials.start.tolist(),
        partials.pane.tolist(),
        partials.gap.tolist(),
        partials.level.tolist(),
        partials.partition.tolist(),
        strict=True,
    )


def _newest(slots: Ints, offsets: Ints, capacity: int) -> Ints:
    """Of each slot the row with the largest offset, of several the last one."""
    rows, owner = np.arange(len(slots)), np.empty(capacity, np.int64)
    owner[slots] = rows
    if (owner[slots] == rows).all():
        return rows
    order = np.argsort(offsets, kind="stable")
    owner[slots[order]] = order
    return np.flatnonzero(owner[slots] == rows)
