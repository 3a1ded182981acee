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
        offset: from where on.
        log_start: the first offset that is left; below zero when unknown.
    """

    def __init__(self, stretch: Stretch, offset: int, log_start: int) -> None:
        topic, number = stretch.source
        last = max(offset, (log_start if log_start > offset else stretch.stop) - 1)
        super().__init__(
            f"{topic} partition {number}: Kafka has deleted the offsets {offset} to {last}"
        )
        self.stretch, self.first, self.last = stretch, offset, last
