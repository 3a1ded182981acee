"""A thread beside a sink that says how the sink is: what it stored, could not use, and its trouble.

Whatever hangs or fails in it, the sink goes on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaException, Producer

from nilo_consumers.metrics import SinkMetrics
from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import encode
from nilo_schemas.errors import NiloError, UnreachableError
from nilo_schemas.families import SystemEvent
from nilo_schemas.registry import Registry
from nilo_schemas.reports import TotalsByTopic, counts_and_lag, health
from nilo_schemas.settings import Settings

# So long a report waits for the broker; then the next one tells what it told.
_DELIVERY = 5.0  # seconds
_LEAVING = 1.0  # seconds that a sink which ends waits for a report under way
log = logging.getLogger(__name__)


class SinkReports:
    """What there is to tell of one sink; what could not be sent is told the next time."""

    def __init__(self, name: str, metrics: SinkMetrics, prefix: str) -> None:
        self._name, self._component = name, f"sink-{name}"
        self._metrics, self._prefix = metrics, prefix
        self._told, self._seen = TotalsByTopic(), TotalsByTopic()
        self._failing, self._was_failing = False, False

    def due(self) -> list[SystemEvent]:
        """What changed since `sent`; trouble each time while it lasts, and once when it is over."""
        self._seen, lag = self._metrics.reported(self._prefix)
        trouble = self._metrics.trouble
        self._failing = trouble is not None
        events = counts_and_lag(self._component, self._seen - self._told, lag)
        if trouble is not None:
            events.append(health(self._component, self._name, "failing", trouble))
        elif self._was_failing:
            events.append(health(self._component, self._name, "ok"))
        return events

    def sent(self) -> None:
        """What was due is with the broker."""
        self._told, self._was_failing = self._seen, self._failing


class _Post:
    """Sends events to `events.system`."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topic_prefix + SystemEvent.kafka_topic
        self._registry = Registry(settings)
        self._producer = Producer(
            kafka_config(
                settings,
                enable_idempotence=True,
                partitioner="murmur2_random",
                message_timeout_ms=round(_DELIVERY * 1000),
            )
            | {"log_level": 0}
        )

    def send(self, events: list[SystemEvent]) -> None:
        """Deliver all, or raise NiloError or KafkaException; some may have arrived then."""
        schema_id = self._registry.schema_id(SystemEvent)
        failed: list[object] = []
        for event in events:
            self._producer.produce(
                self._topic,
                encode(event, schema_id),
                event.key,
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        left = self._producer.flush(_DELIVERY + 1)
        if left or failed:
            raise UnreachableError(f"{left + len(failed)} reports were not taken")


@contextmanager
def reporting(name: str, settings: Settings, metrics: SinkMetrics) -> Iterator[None]:
    """Tell of a sink every `settings.report_every` seconds while the block runs; 0: never."""
    if not settings.report_every:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_report, args=(name, settings, metrics, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_LEAVING)


def _report(name: str, settings: Settings, metrics: SinkMetrics, over: threading.Event) -> None:
    reports, post, told = SinkReports(name, metrics, settings.topic_prefix), _Post(settings), False
    while not over.wait(settings.report_every):
        try:
            events = reports.due()
            if events:
                post.send(events)
            reports.sent()
            told = False
        except (NiloError, KafkaException, BufferError) as error:
            if not told:
                log.info("sink %s cannot report on itself: %s", name, error)
            told = True
