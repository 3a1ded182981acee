"""The contract of a sink: connect, write a batch, close."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Protocol

from nilo_consumers.batch import Batch, Policy
from nilo_consumers.decoding import TopicPart

Offsets = Mapping[TopicPart, int]


class Sink(Protocol):
    """Where batches go. The runner owns Kafka; the sink owns its store and the offsets in it.

    All calls come from one thread, one after another.

    What the runner does with an outcome:
    - `connect` returns: it starts each assigned partition at the offset of the store, and a
      partition that the store does not know at the beginning, or `look_back` ago when that is set.
    - `write` returns: rows and offsets are safe; it commits the group's offsets (for lag tools).
    - either raises an error marked transient: it pauses its partitions, stays in the group,
      waits, connects anew and gives the same batch again. `write` must therefore
      skip what is stored already.
    - `write` raises RowsRefusedError: it cuts the batch into halves until the rows at fault are
      found, and makes dead letters of them. The store must be as before the call.
    - either raises anything else: it leaves the group and raises the error. Nothing is committed.
    """

    name: str
    policy: Policy
    look_back: timedelta | None

    def connect(self, parts: Collection[TopicPart]) -> Offsets:
        """Reach the store and make ready for these partitions; the next offset of those it knows.

        Called at each assignment of partitions and after each failure.
        """
        ...

    def write(self, batch: Batch) -> int:
        """Store rows and offsets together, all or nothing; the number of rows stored."""
        ...

    def close(self) -> None:
        """Let go of the store; called once, at the end."""
        ...
