"""The thread that talks to the broker: it fetches chunks, and notes when the group answers.

The group's answers are a lease: for a while after each of them nobody else has our partitions.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers import aiokafka as stock
from faust.types import TP

from nilo_stream_processors.fetch import fetch
from nilo_stream_processors.joining import tend

# After so long without a heartbeat a worker counts as dead, and the others take its partitions.
SESSION_SECONDS = 15.0
HEARTBEAT_SECONDS = 2.0
# State is sent for so long after a heartbeat that the broker has answered, and what is sent has so
# long to arrive: together less than a session.
LEASE_SECONDS, DELIVERY_SECONDS = 7.0, 6.0
# aiokafka asks a broker for one thing at a time: while it waits for news of partitions that were
# read to their end, those that have more are not asked for. Faust has it wait 1.5 s.
FETCH_WAIT_MILLISECONDS = 50


def lease_clock() -> float:
    """Seconds that pass while the machine sleeps as well, where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class ChunkThread(stock.AIOKafkaConsumerThread):
    """Faust's consumer thread, which fetches chunks."""

    # When that was sent by whose answer we last knew that we are of the group.
    _alive_at = 0.0

    async def on_start(self) -> None:
        """Start, and note from then on when the group answers."""
        await super().on_start()
        self._ensure_consumer()._fetcher._fetch_max_wait_ms = FETCH_WAIT_MILLISECONDS
        coordinator: Any = self._ensure_consumer()._coordinator
        tend(coordinator)
        coordinator._do_heartbeat = self._noted(coordinator._do_heartbeat)
        coordinator._do_rejoin_group = self._noted(coordinator._do_rejoin_group)

    def _noted(self, ask: Callable[..., Awaitable[bool]]) -> Callable[..., Awaitable[bool]]:
        async def noted(*args: Any) -> bool:
            begin = lease_clock()
            alive = await ask(*args)
            if alive:
                self._alive_at = begin
            return alive

        return noted

    def lease(self) -> float:
        """Until when (`lease_clock`) our partitions are nobody else's."""
        return self._alive_at + LEASE_SECONDS

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
