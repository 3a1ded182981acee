"""What a producer says about itself: events that it dropped, and how full its queue is.

Its reports are events of `events.system`, sent by the same client. They count among nobody's
deliveries, and never take the last place in the queue.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import KafkaException

from nilo_producers.delivery import Deliveries
from nilo_producers.headers import cloud_event_headers
from nilo_schemas.codec import encode
from nilo_schemas.errors import NiloError
from nilo_schemas.families import SystemEvent
from nilo_schemas.registry import Registry
from nilo_schemas.reports import sampled
from nilo_schemas.settings import Settings

COMPONENT = "producer"
# A queue that is so full is worth telling of: below it, nobody need know.
WORTH_TELLING = 0.5
_MOST = 2**31 - 1  # events that one event can stand for
_FULL = "the last place is for an event"
OnReport = Callable[[Any, Any], None]
logger = logging.getLogger(__name__)


class SelfReports:
    """Tells every `settings.report_every` seconds what there is to tell; 0: never.

    Args:
        kafka: the client that the events go through.
        size: the messages that its queue holds.
        clock: seconds.
    """

    def __init__(
        self,
        settings: Settings,
        deliveries: Deliveries,
        kafka: Any,
        size: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = settings.topic_prefix + SystemEvent.kafka_topic
        self._every, self._prefix = settings.report_every, settings.topic_prefix
        self._deliveries, self._kafka, self._size = deliveries, kafka, size
        self._clock, self._lock = clock, threading.Lock()
        self._schema_id: int | None = None
        self._asked, self._was_filling = False, False
        self._next = math.inf
        # The program that the queue belongs to: the source of its newest event.
        self.source = ""

    def begin(self, registry: Registry) -> None:
        """Ask for the contract of the reports, once: while events go out, nobody waits for it."""
        if self._asked or not self._every:
            return
        self._asked = True
        try:
            self._schema_id = registry.schema_id(SystemEvent)
        except NiloError as error:
            logger.warning("this producer cannot report on itself: %s", error)
        else:
            self._next = self._clock() + self._every

    def publish_due(self) -> None:
        """Send the reports when it is time for them."""
        if self._clock() >= self._next:
            self.publish()

    def publish(self) -> bool:
        """Send what there is to tell, if there is room for it; whether anything was sent."""
        if self._schema_id is None or not self._lock.acquire(blocking=False):
            return False
        try:
            self._next = self._clock() + self._every
            sent = [self._send(event, on_report) for event, on_report in self._due()]
            return any(sent)
        finally:
            self._lock.release()

    def _due(self) -> Iterator[tuple[SystemEvent, OnReport]]:
        """What there is to tell, and who is told whether it has arrived."""
        fill = min(1.0, len(self._kafka) / self._size)
        filling = fill >= WORTH_TELLING
        if (filling or self._was_filling) and self.source:
            self._was_filling = filling
            yield sampled(COMPONENT, self.source, "queue_fill", fill=fill), _nobody
        for (source, topic), number in self._deliveries.take_dropped().items():
            name = topic.removeprefix(self._prefix)
            count = min(number, _MOST)
            event = sampled(COMPONENT, source, "dropped", topic=name, sample_rate=count)
            yield event, self._telling_again(source, topic, number)

    def _telling_again(self, source: str, topic: str, number: int) -> OnReport:
        """What has not arrived is told with the next report."""

        def on_report(error: Any, _message: Any) -> None:
            if error is not None:
                self._deliveries.dropped(source, topic, number)

        return on_report

    def _send(self, event: SystemEvent, on_report: OnReport) -> bool:
        assert self._schema_id is not None  # noqa: S101  narrowing; `publish` has looked
        if len(self._kafka) + 1 >= self._size:
            on_report(_FULL, None)
            return False
        try:
            self._kafka.produce(
                self._topic,
                encode(event, self._schema_id),
                event.key,
                headers=cloud_event_headers(event),
                on_delivery=on_report,
            )
        except (BufferError, KafkaException) as error:
            on_report(error, None)
            return False
        return True


def _nobody(_error: Any, _message: Any) -> None:
    """How full the queue was is old news by the next report."""
