"""Faust's recovery of tables, which says how much there is to read and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from mode import Service


class Progress:
    """The lines of one recovery, from the offsets that are left; compaction has emptied most."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._clock = total, clock
        self._begin = clock()

    def begun(self) -> str:
        """The line at the start."""
        return f"recovery: {self._total:,} offsets of state to read"

    def line(self, left: int) -> str:
        """The line in between: how far, how fast, and how long still at that rate."""
        done, rate = self._total - left, self._rate(left)
        wait = f"{left / rate:.0f} s to go" if rate else "no estimate yet"
        return f"recovery: {done:,} of {self._total:,} offsets, {rate:,.0f}/s, {wait}"

    def done(self) -> str:
        """The line at the end."""
        seconds = self._clock() - self._begin
        return f"recovery: done, {self._total:,} offsets in {seconds:.1f} s"

    def _rate(self, left: int) -> float:
        seconds = self._clock() - self._begin
        return (self._total - left) / seconds if seconds > 0 else 0.0


class Recovering(Recovery):
    """Faust's recovery with `Progress` in the log, in the place of its tables of offsets."""

    progress: Progress | None = None
    # The generation of the consumer group whose partitions were recovered last. Faust's own of the
    # app may be newer: the thread that talks to the broker sets it when the next rebalance ends.
    recovered_generation = 0

    async def _seek_offsets(self, consumer: Any, tps: Any, offsets: Any, title: str) -> None:
        # The one place between knowing the offsets and reading; Faust offers no hook there.
        await super()._seek_offsets(consumer, tps, offsets, title)
        if title == "active":
            self.progress = Progress(self.active_remaining_total())
            self.log.info(self.progress.begun())

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """All is read: rebuild the state from it, and go on with the streams."""
        self.recovered_generation = generation_id
        await super().on_recovery_completed(generation_id)
        if self.progress is not None:
            self.log.info(self.progress.done())
        self.progress = None

    @Service.task
    async def _publish_stats(self) -> None:
        # In the place of Faust's task of this name, which prints a table of every partition.
        async for _ in self.itertimer(self.stats_interval, name="recovery"):
            if self.in_recovery and self.progress is not None:
                self.log.info(self.progress.line(self.active_remaining_total()))


class Tables(TableManager):
    """Faust's tables with our recovery."""

    @property
    def recovery(self) -> Recovering:
        """The recovery of these tables."""
        if self._recovery is None:
            self._recovery = Recovering(self.app, self, beacon=self.beacon, loop=self.loop)
        return cast("Recovering", self._recovery)
