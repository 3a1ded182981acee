"""Every error that nilo_producers raises.

NiloError
└── ProducerError            base of this part's errors
    ├── QueueFullError       the local queue stayed full for the whole waiting time (transient)
    ├── DeliveryError        events were not delivered; carries their ids
    ├── ClosedError          the producer is closed, or belongs to another process
    └── PlayError            a file cannot be played
        ├── MappingError     a mapping names an unknown field, column or unit, or none is known
        ├── FileError        a file is missing, unreadable or of an unknown kind
        └── RowError         a row does not become a valid event; carries its number
"""

from __future__ import annotations

from collections.abc import Sequence

from nilo_schemas.errors import NiloError


class ProducerError(NiloError):
    """Base of every error of the SDK and the player."""


class QueueFullError(ProducerError):
    """The local queue stayed full: the broker takes less than is emitted. Emit again later."""

    transient = True


class DeliveryError(ProducerError):
    """Events that did not reach Kafka: `count` of them, the first of their ids in `event_ids`."""

    def __init__(self, message: str, count: int, event_ids: Sequence[str]) -> None:
        super().__init__(message)
        self.count = count
        self.event_ids = tuple(event_ids)


class ClosedError(ProducerError):
    """The producer was closed, or was made before a fork and is used behind it."""


class PlayError(ProducerError):
    """A file cannot be played."""


class MappingError(PlayError):
    """A mapping names an unknown field, column or unit, or no mapping is known for a file."""


class FileError(PlayError):
    """A file is missing, unreadable or of an unknown kind."""


class RowError(PlayError):
    """A row does not become a valid event; `row` counts from 1, without the header line."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row
