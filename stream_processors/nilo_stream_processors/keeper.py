"""The two stages as the transport sees them: what is chunked, and when their state is written."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import Any

import faust
from faust.types import TP

from nilo_stream_processors.aggregator import Aggregator
from nilo_stream_processors.merger import Merger
from nilo_stream_processors.reporter import Reporter


class Keeper:
    """Both stages as the transport sees them: what is chunked, and when state is written."""

    def __init__(
        self, app: faust.App, aggregator: Aggregator, merger: Merger, reporter: Reporter
    ) -> None:
        self._app, self._aggregator, self._merger = app, aggregator, merger
        self._reporter = reporter
        self.chunked = frozenset([*aggregator.topics, merger.topic])
        app.on_partitions_revoked.connect(self._revoked, weak=False)

    async def _revoked(self, *_: Any, **__: Any) -> None:
        self._aggregator.pause()
        self._merger.pause()

    async def write_state(self) -> None:
        """Write what changed in both stages and wait until the broker has all of it."""
        sent = list(chain(self._aggregator.write(), self._merger.write(), self._reporter.write()))
        await self._app.producer.flush()
        await asyncio.gather(*sent)

    def start_offset(self, tp: TP) -> int | None:
        """Where the state of a source partition ends; the merge stage goes by the commit."""
        return self._aggregator.start_offset(tp)
