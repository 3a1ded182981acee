"""State as a log: a snapshot, and the changes behind it, each a generation of one or more parts.

A generation counts only when all its parts are there, so state is always that of one moment. Each
owner writes under an epoch of its own and begins with a snapshot: what a worker that was stopped
for a while still writes afterwards has an older epoch and is passed over.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# So many changes are read behind a snapshot at most.
MOST_CHANGES = 60
# Changes may grow to the size of the snapshot, and to this at least.
LEAST_BYTES = 1_000_000


class Epoch(NamedTuple):
    """Who writes: later owners have larger ones.

    `number` is one more than the largest that was found in the log; the generation of the
    consumer group tells owners apart that found the same.
    """

    number: int
    group_generation: int


class Stamp(NamedTuple):
    """Where a part belongs; it is the key of its message.

    `slot` is taken again by later generations, so that a compacted log stays small: two slots of
    snapshots in turn, and one for each change behind a snapshot.
    """

    name: str
    epoch: Epoch
    snapshot: bool
    slot: int
    part: int

    def to_bytes(self) -> bytes:
        """The key as JSON."""
        return json.dumps(self).encode()

    @classmethod
    def from_bytes(cls, key: bytes) -> Stamp:
        """The stamp that a key holds."""
        name, epoch, snapshot, slot, part = json.loads(key)
        return cls(name, Epoch(*epoch), snapshot, slot, part)


@dataclass(frozen=True)
class Part:
    """One message of the log; `generation` and `parts` are also in the header of its frame."""

    stamp: Stamp
    generation: int
    parts: int
    frame: bytes


@dataclass
class Journal:
    """Writes the generations of one state."""

    name: str
    epoch: Epoch
    generation: int = 0
    _changes: int = MOST_CHANGES
    _changed_bytes: int = 0
    _snapshot_bytes: int = 0
    _snapshots: int = 0

    def wants_snapshot(self) -> bool:
        """Whether the next generation must be a snapshot."""
        limit = max(self._snapshot_bytes, LEAST_BYTES)
        return self._changes >= MOST_CHANGES or self._changed_bytes > limit

    def stamps(self, parts: int, *, snapshot: bool) -> list[Stamp]:
        """The stamps of the parts of the next generation."""
        self.generation += 1
        if snapshot:
            self._snapshots += 1
            self._changes = self._changed_bytes = self._snapshot_bytes = 0
            slot = self._snapshots % 2
        else:
            slot = self._changes
            self._changes += 1
        return [Stamp(self.name, self.epoch, snapshot, slot, part) for part in range(parts)]

    def wrote(self, size: int, *, snapshot: bool) -> None:
        """Note the size of a part in bytes."""
        if snapshot:
            self._snapshot_bytes += size
        else:
            self._changed_bytes += size


@dataclass(frozen=True)
class Chain:
    """What a log holds of one state: the generations to read, in order, and by whom."""

    epoch: Epoch
    generations: list[list[Part]]


def chains(parts: Iterable[Part]) -> dict[str, Chain]:
    """The newest state of each name: a complete snapshot and the complete changes behind it.

    An owner that did not complete a snapshot counts for nothing: the one before it holds.
    """
    by_name: dict[str, dict[Epoch, dict[int, list[Part]]]] = {}
    for part in parts:
        epochs = by_name.setdefault(part.stamp.name, {})
        epochs.setdefault(part.stamp.epoch, defaultdict(list))[part.generation].append(part)
    found = {}
    for name, epochs in by_name.items():
        whole = ((epoch, _newest(epochs[epoch])) for epoch in sorted(epochs, reverse=True))
        chain = next(((epoch, run) for epoch, run in whole if run), None)
        if chain:
            found[name] = Chain(*chain)
    return found


def _newest(generations: dict[int, list[Part]]) -> list[list[Part]]:
    complete = {
        number: sorted(parts, key=lambda part: part.stamp.part)
        for number, parts in generations.items()
        if len(parts) == parts[0].parts
    }
    snapshots = [number for number, parts in complete.items() if parts[0].stamp.snapshot]
    if not snapshots:
        return []
    number, run = max(snapshots), []
    while number in complete:
        run.append(complete[number])
        number += 1
    return run


def next_epoch(parts: Sequence[Part], group_generation: int) -> Epoch:
    """The epoch of an owner that found these parts."""
    largest = max((part.stamp.epoch.number for part in parts), default=0)
    return Epoch(largest + 1, group_generation)
