"""A Faust transport that moves whole fetches: one Faust message per chunk of a partition.

Registered as the scheme `nilo://` (entry point `faust.transports`). Topics in `chunked` arrive
as `Chunk`s, all others record by record. Every commit first asks the app to write its state:
see `ChunkConsumer._commit_tps`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol, cast

from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers import aiokafka as stock
from faust.types import TP, ConsumerMessage

from nilo_stream_processors.fetch import CHUNK_BYTES, Chunk, fetch
from nilo_stream_processors.liveness import Standing

__all__ = ["Chunk", "ChunkConsumer", "StateKeeper", "Transport"]

# Of each topic: one chunk in work and one that waits. No more is fetched until one is done.
IN_HAND_BYTES = 2 * CHUNK_BYTES
# A chunk counts as so much, however small: else thousands of them could wait.
LEAST_BYTES = 64 * 1024
# How long to wait for new messages while a topic has no room: its room must be seen soon.
NO_ROOM_SECONDS = 0.02
# At a stop: the time for the chunks in work. With the commit and leaving the group, under ten.
DRAIN_SECONDS = 5.0
# After so long without a heartbeat a worker counts as dead, and the others take its partitions.
SESSION_SECONDS = 15.0
HEARTBEAT_SECONDS = 2.0
# State is sent for so long after a heartbeat that the broker has answered, and what is sent has so
# long to arrive: together less than a session.
LEASE_SECONDS, DELIVERY_SECONDS = 7.0, 6.0
log = logging.getLogger(__name__)


def lease_clock() -> float:
    """Seconds that pass while the machine sleeps as well, where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


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


class ChunkThread(stock.AIOKafkaConsumerThread):
    """Faust's consumer thread, which fetches chunks."""

    # When that was sent by whose answer we last knew that we are of the group.
    alive_at = 0.0

    async def on_start(self) -> None:
        """Start, and note from then on when the group answers."""
        await super().on_start()
        coordinator: Any = self._ensure_consumer()._coordinator
        coordinator._do_heartbeat = self._noted(coordinator._do_heartbeat)
        coordinator._do_rejoin_group = self._noted(coordinator._do_rejoin_group)

    def _noted(self, ask: Callable[..., Awaitable[bool]]) -> Callable[..., Awaitable[bool]]:
        async def noted(*args: Any) -> bool:
            begin = lease_clock()
            alive = await ask(*args)
            if alive:
                self.alive_at = begin
            return alive

        return noted

    def rejoin(self) -> None:
        """Join the group anew, from any thread."""
        coordinator: Any = self._ensure_consumer()._coordinator
        self.thread_loop.call_soon_threadsafe(coordinator.request_rejoin)

    async def chunks(
        self, active: set[TP], room: dict[str, int], timeout: float
    ) -> dict[TP, list[Any]]:
        """See `fetch`."""
        fetched: dict[TP, list[Any]] = await self.call_thread(self._chunks, active, room, timeout)
        return fetched

    async def _chunks(
        self, active: set[TP], room: dict[str, int], timeout: float
    ) -> dict[TP, list[Any]]:
        # As Faust does it: the call waits in a queue, and a rebalance may have begun meanwhile.
        if not self.consumer.flow_active:
            return {}
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        with fetcher._subscriptions.fetch_context():
            return await fetch(
                fetcher, active, room, timeout=timeout, max_records=consumer._max_poll_records
            )

    def positions(self) -> dict[TP, int]:
        """The offset that is fetched next, of each partition that has one."""
        subscription = self._ensure_consumer()._fetcher._subscriptions.subscription
        assignment = subscription and subscription.assignment
        if not assignment:
            return {}
        states = {tp: assignment.state_value(tp) for tp in assignment.tps}
        return {
            TP(tp.topic, tp.partition): state.position
            for tp, state in states.items()
            if state.has_valid_position
        }


class ChunkConsumer(stock.Consumer):
    """Faust's aiokafka consumer with chunks, their commit bookkeeping, and real seeks."""

    _thread: ChunkThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_place: set[TP] = set()
        # Where reading began when there was no state to say it.
        self._starts: dict[TP, int] = {}
        self._in_hand: list[Any] = []
        # The offset behind the newest chunk that was handed out, and what the broker has confirmed:
        # Faust's own note also holds what failed to be committed.
        self._handed: dict[TP, int] = {}
        self._confirmed: dict[TP, int] = {}
        # What was sent in the longest of the commits since one was confirmed.
        self._written = 0
        self._sent_before: int | None = None

    @property
    def keeper(self) -> StateKeeper:
        """The part of the app that keeps state."""
        keeper: StateKeeper = cast("Any", self.app).keeper
        return keeper

    def lease(self) -> float:
        """Until when (`lease_clock`) our partitions are nobody else's."""
        return self._thread.alive_at + LEASE_SECONDS

    def rejoin(self) -> None:
        """Join the group anew: partitions are revoked, and state is recovered."""
        self._thread.rejoin()

    def in_hand(self) -> dict[TP, int]:
        """The bytes of each partition that were handed out and are not done."""
        self._in_hand = [message for message in self._in_hand if not message.acked]
        found: dict[TP, int] = {}
        for message in self._in_hand:
            size = max(message.value.size, LEAST_BYTES)
            found[message.tp] = found.get(message.tp, 0) + size
        return found

    def chunked_partitions(self) -> set[TP]:
        """The partitions that we own and that are read as chunks."""
        return {tp for tp in self.assignment() if tp.topic in self.keeper.chunked}

    def standings(self, ends: Mapping[TP, int]) -> dict[str, Standing]:
        """How far each of our partitions is, given the offsets at which they end.

        What was handed out gets on by being committed, which it is when it is done and its state
        is written, and by each message of that state, of which there may be many. While all that
        was handed out is committed, the reader's position counts (not every offset brings one).
        """
        if self._sent_before is not None:
            self._written = max(self._written, self.keeper.delivered() - self._sent_before)
        positions = self._thread.positions()
        return {
            f"{tp.topic}/{tp.partition}": self._standing(tp, positions.get(tp), ends[tp])
            for tp in self.chunked_partitions() & ends.keys()
        }

    def _standing(self, tp: TP, position: int | None, end: int) -> Standing:
        done = self._confirmed.get(tp, 0)
        if self._handed.get(tp, 0) > done:
            return Standing((done, self._written), max(end - done, 1))
        return Standing((done, position), max(end - (position or 0), 0))

    def _new_consumer_thread(self) -> ChunkThread:
        return ChunkThread(self, loop=self.loop, beacon=self.beacon)

    def _room(self) -> dict[str, int]:
        room = dict.fromkeys(self.keeper.chunked, IN_HAND_BYTES)
        for tp, size in self.in_hand().items():
            room[tp.topic] -= size
        return room

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        active = active_partitions or set()
        await self._go_to_start(active)
        room = self._room()
        if min(room.values()) <= 0:
            timeout = min(timeout, NO_ROOM_SECONDS)
        fetched = await self._thread.chunks(active, room, timeout)
        # The flow may have stopped and begun again meanwhile: what came is read once more.
        return {
            tp: found
            for tp, found in fetched.items()
            if tp in self._in_place or tp.topic not in self.keeper.chunked
        }

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
        self._in_hand.append(message)
        self._handed[tp] = record.offset + 1
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
        return min(newest + 1, self._wanted(tp))

    async def _commit_tps(self, tps: Iterable[TP], start_new_transaction: bool) -> bool:
        """Commit in this order: 1 take the offsets, 2 write state, 3 commit the offsets.

        State may hold more than the offsets say, never less; it knows its own offsets.
        """
        offsets = self._filter_committable_offsets(tps)  # 1
        self._sent_before = self.keeper.delivered()
        try:
            written = await self.keeper.write_state()  # 2
        finally:
            self._sent_before = None
        if not written or not offsets:
            return False
        return await self._commit_offsets(offsets, start_new_transaction)  # 3

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        done = await super()._commit(offsets)
        if done:
            self._confirmed.update(offsets)
            self._written = 0
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

    async def _go_to_start(self, active: set[TP]) -> None:
        """Seek partitions to where their state ends, once after every stop of the flow.

        Stock Faust drops what a fetch brings while the flow is stopped, and reads on behind it.
        Here the seek is part of the fetch loop, so nothing can come between; what comes twice,
        the state knows by its offset.
        """
        misplaced = {tp for tp in active - self._in_place if tp.topic in self.keeper.chunked}
        if not misplaced:
            return
        self._in_place |= misplaced
        earliest = await self.earliest_offsets(*misplaced)
        for tp in misplaced:
            self._starts[tp] = max(self._committed_offset.get(tp) or 0, earliest[tp])
        await self.seek_wait({tp: max(self._wanted(tp), earliest[tp]) for tp in misplaced})

    def _wanted(self, tp: TP) -> int:
        """The offset that the state of a partition needs next."""
        start = self.keeper.start_offset(tp)
        return self._starts.get(tp, 0) if start is None else start

    async def follows(self, tp: TP, chunk: Chunk) -> bool:
        """Whether a chunk begins where its partition's state ends, or before that.

        A fetch may outlive a rebalance: what it brings then lies behind a gap, and the partition is
        read from the right place once more. Only what retention has deleted may be missing.
        """
        while chunk.begin > (wanted := self._wanted(tp)):
            earliest = (await self.earliest_offsets(tp))[tp]
            if wanted != self._wanted(tp):
                continue
            if chunk.begin > max(earliest, wanted):
                log.info("%s: read at %s, wanted %s: going back", tp, chunk.begin, wanted)
                self._in_place.discard(tp)
                return False
            log.warning("%s: offsets %s to %s were deleted unread", tp, wanted, chunk.begin - 1)
            break
        return True

    def _forget(self) -> None:
        # Faust empties the agents' queues when the flow stops: what waited there is read again.
        self._in_place.clear()
        self._in_hand.clear()
        self._handed.clear()

    def stop_flow(self) -> None:
        """Stop handing out messages; see `_go_to_start`."""
        self._forget()
        super().stop_flow()

    def resume_flow(self) -> None:
        """Hand out messages again; see `_go_to_start`."""
        self._forget()
        super().resume_flow()

    async def perform_seek(self) -> None:
        """Note the committed offsets; the fetch loop does the seeking."""
        await super().perform_seek()
        self._confirmed = {tp: offset or 0 for tp, offset in self._committed_offset.items()}
        self._in_place.clear()


class Transport(stock.Transport):
    """Faust's aiokafka transport with the chunk consumer."""

    Consumer = ChunkConsumer
