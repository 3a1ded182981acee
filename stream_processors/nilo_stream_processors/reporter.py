"""The processors' events about themselves: what came in, was refused, the lag, and who is stuck."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable

from nilo_schemas.codec import encode
from nilo_schemas.errors import NiloError
from nilo_schemas.families import SystemEvent
from nilo_schemas.registry import Registry
from nilo_schemas.reports import TotalsByTopic, counts_and_lag, health
from nilo_schemas.settings import Settings
from nilo_stream_processors.counters import SINK, Counters
from nilo_stream_processors.liveness import Stuck
from nilo_stream_processors.outbox import Outbox

# Who is stuck has no time to wait for the registry.
ASK_SECONDS = 3.0


class Reporter:
    """Says every `settings.report_every` seconds what changed since the last time."""

    def __init__(
        self,
        outbox: Outbox,
        settings: Settings,
        registry: Registry,
        *,
        counters: Counters,
        lag: Callable[[], dict[str, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox, self._registry, self._counters = outbox, registry, counters
        self._prefix = settings.topic_prefix
        self._every, self._clock, self._lag = settings.report_every, clock, lag
        self._next = clock() + self._every
        self._told = TotalsByTopic()

    def publish(self) -> None:
        """Send the reports that are due."""
        if not self._every or self._clock() < self._next:
            return
        self._next = self._clock() + self._every
        events = counts_and_lag(SINK, self._counters.totals - self._told, self._lag())
        self._told = self._counters.totals.copy()
        self._send(events, self._registry.schema_id(SystemEvent) if events else 0)

    async def tell_health(self, stuck: Iterable[Stuck], *, ok: bool) -> None:
        """Send that work is stuck, or gets on again; without registry there is none who could."""
        if not self._every:
            return
        asked = asyncio.to_thread(self._registry.schema_id, SystemEvent)
        try:
            schema_id = await asyncio.wait_for(asked, ASK_SECONDS)
        except (NiloError, TimeoutError):
            return  # the log has it, and /health
        self._send(health_events(stuck, self._prefix, ok=ok), schema_id)

    def _send(self, events: Iterable[SystemEvent], schema_id: int) -> None:
        topic = self._prefix + SystemEvent.kafka_topic
        for event in events:
            self._outbox.send(topic, event.key.encode(), encode(event, schema_id), fenced=False)


def health_events(stuck: Iterable[Stuck], prefix: str, *, ok: bool) -> list[SystemEvent]:
    """How each topic is, or what else is worked on, of which something is stuck or was so."""
    worst: dict[str, Stuck] = {}
    for one in stuck:
        worst.setdefault(_subject(one.name, prefix), one)
    host = socket.gethostname()
    return [
        health(SINK, subject, "ok" if ok else "stuck", f"{one} on {host}")
        for subject, one in worst.items()
    ]


def _subject(name: str, prefix: str) -> str:
    """The topic of a partition, `topic/0`, as other reports name it; other work as it is called."""
    return name.removeprefix(prefix).rpartition("/")[0] or name
