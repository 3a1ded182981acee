"""A Faust transport that moves whole fetches: one Faust message per chunk of a partition.

Registered as the scheme `nilo://` (entry point `faust.transports`). Topics in `chunked` arrive
as `Chunk`s, all others record by record. Every commit first asks the app to write its state:
see `ChunkConsumer._commit_tps`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, cast

from faust.transport.drivers import aiokafka as stock
from faust.types import TP, ConsumerMessage

from nilo_stream_processors.consumer_thread import SESSION_SECONDS, ChunkThread
from nilo_stream_processors.fetch import Chunk
from nilo_stream_processors.handed_out import IN_HAND_BYTES, HandedOut
from nilo_stream_processors.liveness import Standing
from nilo_stream_processors.seeks import Seeks

__all__ = [
    "IN_HAND_BYTES",
    "SESSION_SECONDS",
    "Chunk",
    "ChunkConsumer",
    "StateKeeper",
    "Transport",
]

# How long to wait for new messages while others wait that may not be handed out: when they may,
# that must be seen soon.
HELD_BACK_SECONDS = 0.02
# At a stop: the time for the chunks in work. With the commit and leaving the group, under ten.
DRAIN_SECONDS = 5.0
log = logging.getLogger(__name__)


class StateKeeper(Protocol):
    """What the consumer asks of the app that keeps state."""

    chunked: frozenset[str]

    async def write_state(self) -> bool:
        """Write all state that changed and wait until the broker has it; false: not yet."""
        ...

    def start_offset(self, tp: TP) -> int | None:
        """Where reading must begin for the state as it is; None: at the committed offset."""

    def delivered(self) -> int:
        """The messages that the broker has taken of us: while it grows, a write gets on."""
        ...


class ChunkConsumer(stock.Consumer):
    """Faust's aiokafka consumer with chunks, their commit bookkeeping, and real seeks."""

    _thread: ChunkThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handed_out = HandedOut(self.keeper.delivered)
        self._seeks = Seeks(self, self.keeper.start_offset)
        # The reader's positions when all that it had brought was handed out.
        self._positions: dict[TP, int] = {}

    @property
    def keeper(self) -> StateKeeper:
        """The part of the app that keeps state."""
        keeper: StateKeeper = cast("Any", self.app).keeper
        return keeper

    def lease(self) -> float:
        """Until when (`lease_clock`) our partitions are nobody else's."""
        return self._thread.lease()

    def rejoin(self) -> None:
        """Join the group anew: partitions are revoked, and state is recovered."""
        self._thread.rejoin()

    def in_hand(self) -> dict[TP, int]:
        """The bytes of each partition that were handed out and are not done."""
        return self._handed_out.in_hand()

    def chunked_partitions(self) -> set[TP]:
        """The partitions that we own and that are read as chunks."""
        return self._chunked(self.assignment())

    def _chunked(self, partitions: Iterable[TP]) -> set[TP]:
        return {tp for tp in partitions if tp.topic in self.keeper.chunked}

    def standings(self, ends: Mapping[TP, int]) -> dict[str, Standing]:
        """How far each of our partitions is, given the offsets at which they end."""
        ours = {tp: ends[tp] for tp in self.chunked_partitions() & ends.keys()}
        return self._handed_out.standings(ours, self._thread.positions())

    def left(self) -> dict[TP, int]:
        """How many offsets of each of our partitions are still to be read, where the end is known.

        Not every offset brings a message (one that ends a transaction does not, nor one whose
        message was deleted): when all that was handed out is done, the reader's position counts,
        as it was before the fetch that is under way: what that one brings is not handed out yet.
        """
        in_hand = self.in_hand()
        found: dict[TP, int] = {}
        for tp in self.chunked_partitions():
            done, end = self._seeks.wanted(tp), self.highwater(tp)
            if self._seeks.is_in_place(tp) and tp not in in_hand:
                done = max(done, self._positions.get(tp, 0))
            if end is not None:
                found[tp] = max(end - done, 0)
        return found

    async def follows(self, tp: TP, chunk: Chunk) -> bool:
        """Whether an agent may take a chunk in; see `Seeks.follows`."""
        return await self._seeks.follows(tp, chunk)

    def _new_consumer_thread(self) -> ChunkThread:
        return ChunkThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        active = active_partitions or set()
        await self._go_to_start(active)
        self._positions = self._thread.positions()
        room, resting = self._handed_out.room(self.keeper.chunked), self._handed_out.resting()
        if resting or min(room.values()) <= 0:
            timeout = min(timeout, HELD_BACK_SECONDS)
        fetched = await self._thread.chunks(active - resting, room, timeout)
        # Only what was sought since the flow began: it may have stopped and begun again meanwhile,
        # and `active` changes as it does. `follows` finds gaps, but not that a partition has become
        # another worker's; and without a state it goes by the start that the seek has found.
        return {
            tp: found
            for tp, found in fetched.items()
            if self._seeks.is_in_place(tp) or tp.topic not in self.keeper.chunked
        }

    async def _go_to_start(self, active: set[TP]) -> None:
        for tp in await self._seeks.go_to_start(self._chunked(active), self._committed_offset):
            if not self._acked[tp]:
                self._acknowledge_state(tp)

    def _acknowledge_state(self, tp: TP) -> None:
        """What the state holds is done: who has written it may have died before it was committed.

        Otherwise it would seem to be left until the partition has something new.
        """
        if start := self.keeper.start_offset(tp):
            self._acked[tp] = [start - 1]
            self._acked_index[tp] = {start - 1}

    def _to_message(self, tp: TP, record: Any) -> Any:
        if not isinstance(record, Chunk):
            return super()._to_message(tp, record)
        last = record.records[-1]
        message = ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            # Faust declares bytes here, and with the raw codec hands on whatever there is.
            headers=None,
            key=None,
            value=cast("Any", record),
            checksum=None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )
        self._handed_out.add(message)
        return message

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        # A chunk covers its gaps; stock bookkeeping would list every offset between two chunks.
        if tp.topic not in self.keeper.chunked:
            await super()._add_gap(tp, offset_from, offset_to)

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic not in self.keeper.chunked:
            return super()._new_offset(tp)
        acked = self._acked[tp]
        if not acked:
            return None
        # One agent without concurrency acknowledges the chunks of a partition in order.
        newest = max(acked)
        # It stays: this commit may find that it is not time to write state.
        acked[:] = [newest]
        self._acked_index[tp] = {newest}
        # What was sent back to be read again is done with, but is in no state.
        return min(newest + 1, self._seeks.wanted(tp))

    async def _commit_tps(self, tps: Iterable[TP], start_new_transaction: bool) -> bool:
        """Commit in this order: 1 take the offsets, 2 write state, 3 commit the offsets.

        State may hold more than the offsets say, never less; it knows its own offsets.
        """
        offsets = self._filter_committable_offsets(tps)  # 1
        with self._handed_out.writing():
            written = await self.keeper.write_state()  # 2
        if not written or not offsets:
            return False
        return await self._commit_offsets(offsets, start_new_transaction)  # 3

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        done = await super()._commit(offsets)
        if done:
            self._handed_out.confirm(offsets)
        return done

    async def wait_empty(self) -> None:
        """Wait until the chunks in work are done, and commit; at a stop for `DRAIN_SECONDS`.

        At a rebalance there is no limit: a chunk that ends behind it would spoil the new state.
        """
        limit = DRAIN_SECONDS if self.app.should_stop else None
        try:
            await asyncio.wait_for(super().wait_empty(), limit)
        except TimeoutError:
            names = ", ".join(f"{tp.topic}/{tp.partition}" for tp in sorted(self.in_hand()))
            log.warning("not done within %s s, left to the next worker: %s", limit, names)
        # A commit of the timer may have been under way, with older offsets, and Faust had that do.
        await self.maybe_wait_for_commit_to_finish()
        await self.commit()

    def _forget(self) -> None:
        # Faust empties the agents' queues when the flow stops: what waited there is read again.
        self._seeks.forget()
        self._handed_out.forget()

    def stop_flow(self) -> None:
        """Stop handing out messages; see `Seeks`."""
        self._forget()
        super().stop_flow()

    def resume_flow(self) -> None:
        """Hand out messages again; see `Seeks`."""
        self._forget()
        super().resume_flow()

    async def perform_seek(self) -> None:
        """Note the committed offsets; the fetch loop does the seeking."""
        await super().perform_seek()
        self._handed_out.begin_at(self._committed_offset)
        self._seeks.forget()


class Transport(stock.Transport):
    """Faust's aiokafka transport with the chunk consumer."""

    Consumer = ChunkConsumer
