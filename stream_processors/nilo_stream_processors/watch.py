"""Looks after the worker: what is stuck goes to `/health` and the log, and then ends the process.

How much there is to read is asked over a connection of its own, so that a consumer that has
silently stopped cannot answer for itself.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # OffsetSpec is not in __all__
    AdminClient,
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]  # the same
)
from faust.types import TP
from mode import Service

from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings
from nilo_stream_processors.liveness import Liveness, Standing, Stuck, StuckError
from nilo_stream_processors.reporter import Reporter
from nilo_stream_processors.transport import ChunkConsumer

# `/health` tells it for so long before the process ends; who gets on meanwhile stays.
NOTICE_SECONDS = 10.0
LOOKS = 10  # in the time after which something counts as stuck
ASK_SECONDS = 5.0
log = logging.getLogger(__name__)


class Watch(Service):
    """Looks every few seconds; `stuck` is what it found the last time."""

    def __init__(self, app: Any, settings: Settings, reporter: Reporter, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._app, self._stuck_after, self._reporter = app, settings.stuck_after, reporter
        self._every = min(settings.stuck_after / LOOKS, 5.0)
        self._liveness = Liveness(settings.stuck_after)
        # Faust tells of lost connections itself.
        self._admin = AdminClient(kafka_config(settings) | {"log_level": 0})
        self.stuck: list[Stuck] = []

    @Service.task
    async def _watch(self) -> None:
        while not self.should_stop and not self._app.should_stop:
            # If this loop itself stands still, a thread of C ends the process, and says where.
            exit_after(self._stuck_after + NOTICE_SECONDS)
            await self._look()
            await self.sleep(self._every)

    async def _look(self) -> None:
        stuck = self._liveness.look(await self._standings())
        text = ", ".join(map(str, stuck))
        before, self.stuck = self.stuck, stuck
        if stuck and not before:
            log.error("stuck: %s; this worker ends in %.0f s", text, NOTICE_SECONDS)
            await self._reporter.tell_health(stuck, ok=False)
        if before and not stuck:
            log.warning("no longer stuck")
            await self._reporter.tell_health(before, ok=True)
        if stuck and stuck[0].seconds >= self._stuck_after + NOTICE_SECONDS:
            await self._app.crash(
                StuckError(f"stuck: {text}; a supervisor should start this worker again")
            )

    async def _standings(self) -> dict[str, Standing] | None:
        """All work that there is; None when the broker does not answer."""
        moving = self._app.rebalancing or not self._app.tables.recovery.completed.is_set()
        consumer: ChunkConsumer = self._app.consumer
        # Without partitions of our own, one is asked for, to know whether the broker answers.
        asked = set() if moving else consumer.chunked_partitions()
        ends = await self._ends(asked or {TP(min(consumer.keeper.chunked), 0)})
        if not ends:
            return None
        return {"rebalance": self._rebalance()} if moving else consumer.standings(ends)

    def _rebalance(self) -> Standing:
        """Joining the group and recovering state.

        A new round counts as getting on: a worker that gives up in a storm of them makes one more.
        """
        left = self._app.tables.recovery.active_remaining_total()
        mark = (self._app.rebalancing_count, self._app.consumer_generation_id, left)
        return Standing(mark, left or None)

    async def _ends(self, partitions: set[TP]) -> dict[TP, int]:
        """The end offset of each partition whose leader answers."""
        latest: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # untyped upstream
        asked = self._admin.list_offsets(
            {TopicPartition(*tp): latest for tp in partitions},
            request_timeout=ASK_SECONDS,
        )
        ends = {}
        for partition, answer in asked.items():
            try:
                found = await asyncio.wrap_future(answer)
            except KafkaException:
                continue
            ends[TP(partition.topic, partition.partition)] = int(found.offset)
        return ends


def exit_after(seconds: float) -> None:
    """End the process with code 1 after so many seconds, with the stack of every thread.

    The next call takes the place of this one. It works whatever hangs: no Python runs in it.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)
