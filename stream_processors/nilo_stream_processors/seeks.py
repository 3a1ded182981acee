"""Where each partition that is read as chunks is to be read, so that its state misses nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from faust.types import TP

from nilo_stream_processors.fetch import Chunk

log = logging.getLogger(__name__)


class Reader(Protocol):
    """What is asked of the consumer."""

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """The first offset that the broker still has of each."""
        ...

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Read on at these offsets."""


class Seeks:
    """Brings the reader to where the state of a partition ends, after every stop of the flow.

    Args:
        start_offset: the offset that the state of a partition needs next; None: it has no state.
    """

    def __init__(self, reader: Reader, start_offset: Callable[[TP], int | None]) -> None:
        self._reader, self._start_offset = reader, start_offset
        self._in_place: set[TP] = set()
        self._stops = 0
        # Where reading began when there was no state to say it.
        self._starts: dict[TP, int] = {}

    def forget(self) -> None:
        """The flow has stopped: nobody knows what is read next."""
        self._in_place.clear()
        self._stops += 1

    def is_in_place(self, tp: TP) -> bool:
        """Whether a partition was brought to its place since the flow stopped last."""
        return tp in self._in_place

    async def go_to_start(self, active: set[TP], committed: Mapping[TP, int | None]) -> set[TP]:
        """Seek partitions to where their state ends, once after every stop of the flow; which ones.

        Stock Faust drops what a fetch brings while the flow is stopped, and reads on behind it.
        Here the seek is part of the fetch loop, so nothing can come between; what comes twice,
        the state knows by its offset.

        Args:
            active: the partitions that are about to be read.
            committed: where those begin that have no state.
        """
        misplaced = active - self._in_place
        if not misplaced:
            return set()
        stops = self._stops
        earliest = await self._reader.earliest_offsets(*misplaced)
        for tp in misplaced:
            self._starts[tp] = max(committed.get(tp) or 0, earliest[tp])
        await self._reader.seek_wait({tp: max(self.wanted(tp), earliest[tp]) for tp in misplaced})
        if stops != self._stops:
            return set()
        self._in_place |= misplaced
        return misplaced

    def wanted(self, tp: TP) -> int:
        """The offset that the state of a partition needs next."""
        start = self._start_offset(tp)
        return self._starts.get(tp, 0) if start is None else start

    async def follows(self, tp: TP, chunk: Chunk) -> bool:
        """Whether a chunk begins where its partition's state ends, or before that.

        A fetch may outlive a rebalance: what it brings then lies behind a gap, and the partition is
        read from the right place once more. Only what retention has deleted may be missing.
        """
        while chunk.begin > (wanted := self.wanted(tp)):
            earliest = (await self._reader.earliest_offsets(tp))[tp]
            if wanted != self.wanted(tp):
                continue
            if chunk.begin > max(earliest, wanted):
                log.info("%s: read at %s, wanted %s: going back", tp, chunk.begin, wanted)
                self._in_place.discard(tp)
                return False
            log.warning("%s: offsets %s to %s were deleted unread", tp, wanted, chunk.begin - 1)
            break
        return True
