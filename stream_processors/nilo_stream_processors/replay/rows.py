"""What every source of a replay gives: stretches of events in the order of their offsets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from nilo_schemas.errors import Reason
from nilo_stream_processors.engine.arrays import Ints
from nilo_stream_processors.engine.merge import Source


@dataclass(frozen=True)
class Rows:
    """The next events of a source partition.

    Args:
        batch: decoded, in the order of their offsets.
        offsets: of each row.
        stamps: time of each row's Kafka record, in microseconds.
        next: the offset at which reading goes on.
        unread: how many records did not decode, by reason.
    """

    batch: pa.RecordBatch
    offsets: Ints
    stamps: Ints
    next: int
    unread: Counter[Reason] = field(default_factory=Counter)


@dataclass(frozen=True)
class Stretch:
    """Offsets `[first, stop)` of a source partition: topic without prefix, and number."""

    source: Source
    first: int
    stop: int


class Store(Protocol):
    """Where events are read from; it is copied into other processes."""

    def read(self, stretch: Stretch) -> Iterator[Rows]:
        """The events of a stretch; the last rows have `next` at its end or behind it.

        Raises:
            NiloError: the store does not answer, or what is asked for is gone.
        """
        ...
