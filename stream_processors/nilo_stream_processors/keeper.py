"""The two stages as the transport sees them: what is chunked, and when their state is written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from faust.types import TP

from nilo_stream_processors.aggregator import Aggregator
from nilo_stream_processors.consumer_thread import lease_clock
from nilo_stream_processors.merger import Merger
from nilo_stream_processors.outbox import LostError, Outbox
from nilo_stream_processors.reporter import Reporter

# A pause between two writes lasts so long at most.
LONGEST_PAUSE = 10.0
# With much to catch up, nobody waits for what lies between: a pause lasts so many times what the
# write before it took, and so long at least.
BEHIND_TIMES, BEHIND_SECONDS = 9.0, 5.0
# Windows that are not final are shown so often at most, and showing them takes a tenth of the time.
SHOW_SECONDS, SHOW_SHARE = 1.0, 0.1
# For so long our partitions must be ours when a write begins.
LEAST_LEASE = 2.0
log = logging.getLogger(__name__)


class Keeper:
    """Both stages as the transport sees them: what is chunked, and when state is written."""

    def __init__(
        self,
        app: Any,
        aggregator: Aggregator,
        merger: Merger,
        reporter: Reporter,
        *,
        outbox: Outbox,
        clock: Callable[[], float] = lease_clock,
    ) -> None:
        self._app, self._aggregator, self._merger = app, aggregator, merger
        self._reporter, self._outbox, self._clock = reporter, outbox, clock
        self._written, self._took = clock(), 0.0
        self._show_due, self._was_behind = clock(), True
        self.chunked = frozenset([*aggregator.topics, merger.topic])
        app.on_partitions_revoked.connect(self._revoked, weak=False)

    async def _revoked(self, *_: Any, **__: Any) -> None:
        self._pause()

    def _pause(self) -> None:
        self._aggregator.pause()
        self._merger.pause()

    async def write_state(self) -> bool:
        """Write and then publish what changed in both stages; false when that was not done.

        State goes first: what was published is always that of a state that is known. Both are with
        the broker when this returns.
        """
        begin = self._clock()
        hurried = self._app.should_stop or self._app.rebalancing
        if not self._may_write(begin) or (begin < self._due() and not hurried):
            return False
        try:
            await self._write(begin)
        except LostError as error:
            self._give_up(error)
            return False
        self._written = self._clock()
        self._took = self._written - begin
        return True

    def _may_write(self, now: float) -> bool:
        """Whether our state is whole, and its partitions are ours for a while."""
        whole = self._aggregator.ready and self._merger.ready
        return whole and now + LEAST_LEASE <= self._app.lease()

    async def _write(self, now: float) -> None:
        provisional = self._shows(now)
        self._aggregator.save()
        self._merger.save(provisional=provisional)
        # The dead letters among what the state has passed over: nobody reads that again.
        await self._outbox.flush()
        self._aggregator.store()
        self._merger.store()
        await self._outbox.flush()
        await asyncio.to_thread(self._merger.add_samples)
        self._aggregator.publish()
        self._merger.publish()
        self._reporter.publish()
        await self._outbox.flush()
        if provisional:
            took = self._clock() - now
            self._show_due = now + min(max(SHOW_SECONDS, took / SHOW_SHARE), LONGEST_PAUSE)

    def _shows(self, now: float) -> bool:
        """Whether windows that are not final are shown: not until we have caught up for a while."""
        was_behind, self._was_behind = self._was_behind, self._aggregator.is_behind()
        return now >= self._show_due and not (was_behind or self._was_behind)

    def _give_up(self, error: LostError) -> None:
        """Forget all, and join the group anew: state comes back from what the log holds."""
        log.warning("%s; joining the group anew", error)
        self._pause()
        self._outbox.purge()
        self._app.consumer.rejoin()

    def _due(self) -> float:
        """When state is to be written again: after a pause that grows with what writing takes.

        Writing has half of the time at most, and with much to catch up a tenth; it has more only
        when that would make the pause longer than LONGEST_PAUSE.
        """
        pause = self._took
        if self._aggregator.is_behind():
            pause = max(BEHIND_TIMES * self._took, BEHIND_SECONDS)
        return self._written + min(pause, LONGEST_PAUSE)

    def delivered(self) -> int:
        """How many messages of state and results the broker has taken."""
        return self._outbox.delivered()

    def start_offset(self, tp: TP) -> int | None:
        """Where the state of a partition ends; None: at the committed offset."""
        stage = self._merger if tp.topic == self._merger.topic else self._aggregator
        return stage.start_offset(tp)
