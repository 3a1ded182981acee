"""Entries: the snapshots of one metric that stage 2 holds, and the windows that they belong to.

An entry is a pane or session of one source partition; or the rest of forgotten panes, which is
their sum within one longer window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nilo_schemas.catalogue import Metric
from nilo_stream_processors.engine import sums
from nilo_stream_processors.engine.arrays import Bools, Ints
from nilo_stream_processors.engine.cells import FIRST_CAPACITY, Cells
from nilo_stream_processors.engine.partials import Partials

# Series, start, length (of the pane, of the window of a rest; 0 for sessions), gap and partition.
# The gap of a rest is the hop of its windows below zero.
Key = tuple[str, int, int, int, int]


class Entries(Cells):
    """Snapshots by key; `windows`, shape (grids, slots), holds the window of each grid, or -1.

    A snapshot that was replaced keeps its slot until the next `forget`.
    """

    columns: tuple[str, ...] = (*Cells.columns, "length", "partition", "gap", "live")

    def __init__(self, name: str, metric: Metric, grids: int) -> None:
        super().__init__({name: metric})
        self.name, self.held = name, self.metrics[name]
        self.length = np.zeros(FIRST_CAPACITY, np.int64)
        self.partition = np.zeros(FIRST_CAPACITY, np.int64)
        self.gap = np.zeros(FIRST_CAPACITY, np.int64)
        self.live = np.zeros(FIRST_CAPACITY, np.bool_)
        self.windows = np.full((grids, FIRST_CAPACITY), -1, np.int64)
        self._found: dict[Key, int] = {}
        self._dead: list[int] = []

    def known(self, partials: Partials) -> Bools:
        """Which partials are of an entry that is held."""
        return np.array([key in self._found for key in keys_of(partials)], np.bool_)

    def put(self, partials: Partials) -> tuple[Ints, Ints]:
        """Take in snapshots that are newer than what is held.

        Returns:
            The slots of those taken in, and for each the slot that it replaced, or -1.
        """
        newest: dict[Key, int] = {}
        offsets = partials.sums[sums.LAST].tolist()
        for row, key in enumerate(keys_of(partials)):
            if key not in newest or offsets[newest[key]] <= offsets[row]:
                newest[key] = row
        held = np.array([self._found.get(key, -1) for key in newest], np.int64)
        rows = np.fromiter(newest.values(), np.int64, len(newest))
        before = np.where(held >= 0, self.held.sums[sums.LAST, held], -2)
        fresh = partials.sums[sums.LAST, rows] > before
        taken = [key for key, new in zip(newest, fresh.tolist(), strict=True) if new]
        slots = self._placed(taken, partials.take(rows[fresh]))
        return slots, held[fresh]

    def _placed(self, keys: list[Key], partials: Partials) -> Ints:
        replaced = [self._found[key] for key in keys if key in self._found]
        self.live[replaced] = False
        self._dead += replaced
        slots = self.new(partials.series, partials.start, partials.end)
        self._found.update(zip(keys, slots.tolist(), strict=True))
        self.length[slots], self.partition[slots] = partials.pane, partials.partition
        self.gap[slots], self.live[slots] = partials.gap, True
        self.join(slots, self.name, partials)
        self.dirty[slots] = True
        return slots

    def rest(self, key: Key, end: int, grid: int, window: int) -> int:
        """The slot of the rest of a window of a grid; made when there is none."""
        slot = self._found.get(key)
        if slot is None:
            place = np.array([key[0]], np.object_), np.array([key[1]]), np.array([end])
            slot = self._found[key] = int(self.new(*place)[0])
            self.length[slot], self.gap[slot], self.partition[slot] = key[2:]
            self.live[slot] = True
            self.windows[grid, slot] = window
        return slot

    def is_crowded(self) -> bool:
        """Whether a quarter of the slots holds snapshots that were replaced."""
        return 4 * len(self._dead) > len(self.start)

    def forget(self, slots: Ints) -> None:
        """Forget entries, and give the slots of replaced ones free."""
        for slot in slots.tolist():
            place = self.start[slot], self.length[slot], self.gap[slot], self.partition[slot]
            del self._found[self.series[slot], *place]
        self.remove(np.concatenate([slots, np.array(self._dead, np.int64)]))
        self._dead = []

    def remove(self, slots: Ints) -> None:
        """Give slots free."""
        super().remove(slots)
        self.windows[:, slots], self.live[slots] = -1, False

    def slots(self) -> Ints:
        """The slots of entries, in rising order, without those that were replaced."""
        return np.flatnonzero(self.live)

    def stored(self, slots: Ints, topic: str) -> Partials:
        """The entries in slots as they are kept in the state."""
        kept = self.snapshots(self.name, slots, (topic, 0), (0, 0))
        return replace(
            kept, partition=self.partition[slots], pane=self.length[slots], gap=self.gap[slots]
        )

    def _grow(self) -> None:
        super()._grow()
        more = np.full_like(self.windows, -1)
        self.windows = np.concatenate([self.windows, more], axis=1)


def keys_of(partials: Partials) -> Iterator[Key]:
    """The key of each partial."""
    return zip(
        partials.series.tolist(),
        partials.start.tolist(),
        partials.pane.tolist(),
        partials.gap.tolist(),
        partials.partition.tolist(),
        strict=True,
    )
