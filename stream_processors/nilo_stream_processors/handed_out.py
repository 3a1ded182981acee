"""What was handed out to the agents: how many bytes are in hand, and how far it is committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from faust.types import TP, ConsumerMessage

from nilo_stream_processors.fetch import CHUNK_BYTES, Chunk
from nilo_stream_processors.liveness import Standing

# Of each topic: one chunk in work and one that waits. No more is fetched until one is done.
IN_HAND_BYTES = 2 * CHUNK_BYTES
# A chunk costs the engine milliseconds, however small. A partition that has so little to give rests
# for a while: what comes meanwhile will be one chunk.
SMALL_BYTES = 64 * 1024
REST_SECONDS = 0.1


class HandedOut:
    """The chunks that were handed out since the flow began, and what the broker has confirmed.

    Args:
        delivered: how many messages of state and results the broker has taken of us so far.
    """

    def __init__(
        self, delivered: Callable[[], int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._delivered, self._clock = delivered, clock
        self._messages: list[ConsumerMessage] = []
        # Until when the partitions rest whose newest chunk was small.
        self._rests: dict[TP, float] = {}
        # The offset behind the newest chunk.
        self._ends: dict[TP, int] = {}
        # Faust's own note of what is committed also holds what failed to be.
        self._confirmed: dict[TP, int] = {}
        # Of each partition: what was delivered in the longest write of state since its last commit
        # was confirmed; and what there was before the write that is under way.
        self._written: dict[TP, int] = {}
        self._before: int | None = None

    def add(self, message: ConsumerMessage) -> None:
        """Note a message whose value is a chunk."""
        self._messages.append(message)
        self._ends[message.tp] = message.offset + 1
        if _size(message) < SMALL_BYTES:
            self._rests[message.tp] = self._clock() + REST_SECONDS
        else:
            self._rests.pop(message.tp, None)

    def forget(self) -> None:
        """The flow has stopped: what waited in the agents' queues is gone, and is read again."""
        self._messages.clear()
        self._ends.clear()
        self._rests.clear()

    def in_hand(self) -> dict[TP, int]:
        """The bytes of each partition that are not done."""
        self._messages = [message for message in self._messages if not message.acked]
        found: dict[TP, int] = {}
        for message in self._messages:
            found[message.tp] = found.get(message.tp, 0) + _size(message)
        return found

    def resting(self) -> set[TP]:
        """The partitions that get no further chunk yet: a small one is in hand, or was just now."""
        now, in_hand = self._clock(), self.in_hand()
        return {tp for tp, end in self._rests.items() if tp in in_hand or now < end}

    def room(self, topics: Iterable[str]) -> dict[str, int]:
        """How many bytes of each topic may still be handed out; below zero for too many."""
        room = dict.fromkeys(topics, IN_HAND_BYTES)
        for tp, size in self.in_hand().items():
            room[tp.topic] -= size
        return room

    @contextmanager
    def writing(self) -> Iterator[None]:
        """While state is written, which must be before a commit."""
        self._before = self._delivered()
        try:
            yield
        finally:
            self._before = None

    def confirm(self, offsets: Mapping[TP, int]) -> None:
        """The broker has confirmed a commit."""
        for tp, offset in offsets.items():
            if self._confirmed.get(tp) != offset:
                self._written.pop(tp, None)
        self._confirmed.update(offsets)

    def begin_at(self, committed: Mapping[TP, int | None]) -> None:
        """The broker has told what is committed."""
        self._confirmed = {tp: offset or 0 for tp, offset in committed.items()}

    def standings(self, ends: Mapping[TP, int], positions: Mapping[TP, int]) -> dict[str, Standing]:
        """How far each partition is.

        What was handed out gets on by being committed, which it is when it is done and its state
        is written; and once it is done by each message of that state, of which there may be many.
        What others write and commit does not help a partition that hangs. While all that was handed
        out is committed, the reader's position counts (not every offset brings one).

        Args:
            ends: the offsets at which the partitions end.
            positions: the offsets that are fetched next, of those that have one.
        """
        if self._before is not None:
            written = self._delivered() - self._before
            for tp in ends.keys() - self.in_hand().keys():
                self._written[tp] = max(self._written.get(tp, 0), written)
        return {
            f"{tp.topic}/{tp.partition}": self._standing(tp, positions.get(tp), end)
            for tp, end in ends.items()
        }

    def _standing(self, tp: TP, position: int | None, end: int) -> Standing:
        done = self._confirmed.get(tp, 0)
        if self._ends.get(tp, 0) > done:
            return Standing((done, self._written.get(tp, 0)), max(end - done, 1))
        return Standing((done, position), max(end - (position or 0), 0))


def _size(message: ConsumerMessage) -> int:
    # Faust declares bytes as the value of every message.
    return cast("Chunk", message.value).size
