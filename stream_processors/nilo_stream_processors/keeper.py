"""The two stages as the transport sees them: what is chunked, and when their state is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import faust
from faust.types import TP

from nilo_stream_processors.aggregator import Aggregator
from nilo_stream_processors.merger import Merger
from nilo_stream_processors.outbox import Outbox
from nilo_stream_processors.reporter import Reporter

# How many times as long as it took the last time the next write of state waits: large states are
# written less often. With much to catch up, nobody waits for what lies between.
PAUSE, PAUSE_BEHIND = 1, 9
LONGEST_PAUSE = 10.0


class Keeper:
    """Both stages as the transport sees them: what is chunked, and when state is written."""

    def __init__(
        self,
        app: faust.App,
        aggregator: Aggregator,
        merger: Merger,
        reporter: Reporter,
        *,
        outbox: Outbox,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._aggregator, self._merger = app, aggregator, merger
        self._reporter, self._outbox, self._clock = reporter, outbox, clock
        self._written, self._took = -LONGEST_PAUSE, 0.0
        self.chunked = frozenset([*aggregator.topics, merger.topic])
        app.on_partitions_revoked.connect(self._revoked, weak=False)

    async def _revoked(self, *_: Any, **__: Any) -> None:
        self._aggregator.pause()
        self._merger.pause()

    async def write_state(self) -> bool:
        """Write and then publish what changed in both stages; false when it is not time yet.

        State goes first: what was published is always that of a state that is known. Both are with
        the broker when this returns.
        """
        begin = self._clock()
        if begin < self._due() and not (self._app.should_stop or self._app.rebalancing):
            return False
        self._aggregator.save()
        self._merger.save()
        await self._outbox.flush()
        self._aggregator.publish()
        self._merger.publish()
        self._reporter.publish()
        await self._outbox.flush()
        self._written = self._clock()
        self._took = self._written - begin
        return True

    def _due(self) -> float:
        """When state is to be written again."""
        pause = PAUSE_BEHIND if self._aggregator.is_behind() else PAUSE
        return self._written + min(pause * self._took, LONGEST_PAUSE)

    def delivered(self) -> int:
        """How many messages of state and results the broker has taken."""
        return self._outbox.delivered()

    def start_offset(self, tp: TP) -> int | None:
        """Where the state of a partition ends; None: at the committed offset."""
        stage = self._merger if tp.topic == self._merger.topic else self._aggregator
        return stage.start_offset(tp)
