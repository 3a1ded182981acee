"""The state of a stage in Kafka: journals in a Faust table, written at commits, read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import faust
import pyarrow as pa

from nilo_stream_processors.changelog import Changelog
from nilo_stream_processors.frames import from_frame, header_of, to_frame
from nilo_stream_processors.journal import Journal, Part, Stamp, chains, next_epoch
from nilo_stream_processors.outbox import Outbox


class Stored(NamedTuple):
    """A part of stored state: its batch and its header, and whether its generation is the last.

    What the last generation holds may not have been published.
    """

    batch: pa.RecordBatch
    header: dict[str, Any]
    last: bool


class StateLog:
    """Named states, each belonging to one partition of the table."""

    def __init__(self, app: faust.App, name: str, partitions: int, outbox: Outbox) -> None:
        self._app: Any = app
        self._changelog = Changelog(app, name, partitions, outbox)
        self._journals: dict[str, Journal] = {}
        self._stale: dict[str, list[tuple[int, bytes]]] = {}
        # Partition, key and frame, or None for an entry that may go.
        self._unsent: list[tuple[int, bytes, bytes | None]] = []

    def on_recovered(self, callback: Callable[[], Awaitable[None]]) -> None:
        """See `Changelog.on_recovered`."""
        self._changelog.on_recovered(callback)

    def recovered(self) -> dict[str, list[Stored]]:
        """The newest state of each name; writing goes on under a new epoch."""
        parts: dict[str, list[Part]] = defaultdict(list)
        where: dict[Stamp, int] = {}
        for partition, key, frame in self._changelog.entries():
            stamp = Stamp.from_bytes(key)
            # Most of what is there may be of owners before the last: of those, no more is read.
            header = header_of(frame)
            parts[stamp.name].append(Part(stamp, header["generation"], header["parts"], frame))
            where[stamp] = partition
        generation = self._generation()
        self._journals, self._stale, self._unsent = {}, {}, []
        for name, mine in parts.items():
            self._journals[name] = Journal(name, next_epoch(mine, generation))
            self._stale[name] = [(where[part.stamp], part.stamp.to_bytes()) for part in mine]
        found = chains(part for mine in parts.values() for part in mine)
        return {name: list(_stored(chain.generations)) for name, chain in found.items()}

    def wants_snapshot(self, name: str) -> bool:
        """Whether the next generation of a state must be a snapshot, that is, all of it."""
        return name not in self._journals or self._journals[name].wants_snapshot()

    def write(
        self,
        partition: int,
        name: str,
        batches: list[pa.RecordBatch],
        header: dict[str, Any],
        *,
        snapshot: bool,
    ) -> None:
        """Make a generation, for `send` to send."""
        if name not in self._journals:
            self._journals[name] = Journal(name, next_epoch([], self._generation()))
        journal = self._journals[name]
        if not snapshot:
            # The snapshot of this epoch is with the broker: what was there before may go.
            for where, key in self._stale.pop(name, []):
                self._unsent.append((where, key, None))
        stamps = journal.stamps(len(batches), snapshot=snapshot)
        header = header | {"generation": journal.generation, "parts": len(batches)}
        for stamp, batch in zip(stamps, batches, strict=True):
            frame = to_frame(batch, header)
            journal.wrote(len(frame), snapshot=snapshot)
            self._unsent.append((partition, stamp.to_bytes(), frame))

    def send(self) -> None:
        """Send what was written; it is with the broker when the outbox is flushed.

        Raises:
            LostError: the lease is over.
        """
        unsent, self._unsent = self._unsent, []
        for entry in unsent:
            self._changelog.put(*entry)

    def _generation(self) -> int:
        # Who writes what an older generation has recovered must not pass for a newer owner.
        return int(self._app.tables.recovery.recovered_generation)


def _stored(generations: list[list[Part]]) -> Iterator[Stored]:
    for parts in generations:
        for part in parts:
            yield Stored(*from_frame(part.frame), last=parts is generations[-1])
