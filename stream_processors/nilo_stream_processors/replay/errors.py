"""Errors of a replay.

NiloError
└── GoneError            retention has taken what was to be read
"""

from __future__ import annotations

from nilo_schemas.errors import NiloError
from nilo_stream_processors.replay.rows import Stretch


class GoneError(NiloError):
    """Events that were to be read are in this store no more.

    Args:
        stretch: what was to be read.
        offset: the first that is not there.
    """

    def __init__(self, stretch: Stretch, offset: int) -> None:
        topic, number = stretch.source
        super().__init__(f"{topic} partition {number}: offset {offset} is deleted")
        self.stretch, self.offset = stretch, offset

    def __reduce__(self) -> tuple[type[GoneError], tuple[Stretch, int]]:
        """For the process that leads: another one has met it."""
        return GoneError, (self.stretch, self.offset)
