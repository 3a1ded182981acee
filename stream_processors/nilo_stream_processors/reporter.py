"""The processors' events about themselves: what came in, was late, was dead-lettered, and the lag.

They are `resource.sampled` events of `events.system`, so that the catalogue measures the system
as it measures everything else. Counts travel as `sample_rate`: one event stands for so many.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nilo_schemas.codec import encode
from nilo_schemas.families import SystemEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from nilo_stream_processors.counters import SINK, Counters, TotalsByTopic
from nilo_stream_processors.outbox import Outbox

SOURCE = "nilometer"
LAG = "lag"


class Reporter:
    """Says every `settings.report_every` seconds what changed since the last time.

    It is silent about `events.system` itself: its own reports would keep it talking for ever.
    """

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
        self._topic = settings.topic_prefix + SystemEvent.kafka_topic
        self._every, self._clock, self._lag = settings.report_every, clock, lag
        self._next = clock() + self._every
        self._told = TotalsByTopic()

    def publish(self) -> None:
        """Send the reports that are due."""
        if not self._every or self._clock() < self._next:
            return
        self._next = self._clock() + self._every
        events = reports(self._counters.totals - self._told, self._lag())
        self._told = self._counters.totals.copy()
        schema_id = self._registry.schema_id(SystemEvent) if events else 0
        for event in events:
            value = encode(event, schema_id)
            self._outbox.send(self._topic, event.key.encode(), value, fenced=False)


def reports(counted: TotalsByTopic, lag: dict[str, int]) -> list[SystemEvent]:
    """The events that tell what was counted by measure and topic, and the lag of each topic."""
    told = [
        _event(topic, measure, sample_rate=count)
        for (measure, topic), count in sorted(counted.items())
        if topic != SystemEvent.kafka_topic
    ]
    busy = {event.subject for event in told}
    return told + [
        _event(topic, LAG, queue_depth=depth)
        for topic, depth in sorted(lag.items())
        if topic in busy or (depth and topic != SystemEvent.kafka_topic)
    ]


def _event(topic: str, measure: str, **values: Any) -> SystemEvent:
    return SystemEvent(
        type="resource.sampled",
        source=SOURCE,
        component=SINK,
        subject=topic,
        attributes={"measure": measure},
        **values,
    )
