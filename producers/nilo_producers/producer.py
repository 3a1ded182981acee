"""Typed events into Kafka, each with a report of what became of it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import confluent_kafka

from nilo_producers.client import kafka_client
from nilo_producers.delivery import Counts, Deliveries, OnDelivery
from nilo_producers.errors import ClosedError, DeliveryError, QueueFullError
from nilo_producers.headers import cloud_event_headers
from nilo_producers.reporting import SelfReports
from nilo_schemas.codec import encode
from nilo_schemas.envelope import Event
from nilo_schemas.errors import ContractError
from nilo_schemas.families import family_of_topic
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings, load_settings

DELIVERY_TIMEOUT = 120.0
QUEUE_TIMEOUT = 30.0
QUEUE_SIZE = 100_000
_WAIT_STEP = 0.1
_REPORT_SLACK = 5.0  # seconds in which librdkafka notices its own timeouts and reports them
_LAST_REPORT = 1.0  # seconds in which what is last said about ourselves must arrive


@dataclass(frozen=True, slots=True)
class _Route:
    topic: str
    schema_id: int


class Producer:
    """Sends events to the topics of their families; each arrives once and in the order of its key.

    `emit` returns when the event is queued. What became of it comes to `on_delivery`, which is
    called inside a later `emit`, `poll` or `flush`, in the thread that called it. As a context
    manager it flushes at the end and raises DeliveryError when an event did not arrive.

    One producer may be used from several threads, and is best shared by all of them. It does not
    survive a fork: make it in the child process.

        with Producer() as producer:
            producer.emit(LlmEvent(type="llm.call", source="my-app", model="m"))
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        on_delivery: OnDelivery | None = None,
        delivery_timeout: float = DELIVERY_TIMEOUT,
        queue_timeout: float = QUEUE_TIMEOUT,
        queue_size: int = QUEUE_SIZE,
    ) -> None:
        """Connect in the background; nothing is waited for.

        Args:
            settings: where Kafka and the registry are (default: `load_settings()`).
            on_delivery: called once with the Delivery of each event.
            delivery_timeout: seconds in which an event must arrive; then it has failed for good.
            queue_timeout: seconds that `emit` waits for room in a full local queue.
            queue_size: events that the local queue holds.

        Raises:
            SettingsError: no broker or no registry is known, or a client setting is refused.
        """
        self._settings = settings or load_settings()
        self._registry = Registry(self._settings)
        self._routes: dict[type[Event], _Route] = {}
        self._deliveries = Deliveries(on_delivery)
        self._delivery_timeout, self._queue_timeout = delivery_timeout, queue_timeout
        self._closed, self._pid = False, os.getpid()
        self._kafka = kafka_client(self._settings, delivery_timeout, queue_size)
        self._queue_size = queue_size
        self._reports = SelfReports(self._settings, self._deliveries, self._kafka, queue_size)

    @property
    def queue_fill(self) -> float:
        """How full the local queue is, by its events: 0 is empty, 1 is full.

        A program that can wait or do with less should do so before it is full: then `emit` waits.
        """
        return min(1.0, len(self._kafka) / self._queue_size)

    @property
    def counts(self) -> Counts:
        """How many events were delivered, failed, or are still on their way."""
        return self._deliveries.counts

    def emit(self, event: Event) -> None:
        """Queue one event for the topic of its family, under the event's own key.

        Raises:
            QueueFullError: the local queue stayed full for `queue_timeout` seconds.
            DeliveryError: librdkafka refuses the event, for example as too large.
            ContractError: the event's class is no known family, or its contract not registered.
            UnreachableError: the registry does not answer (asked once per family).
            ClosedError: the producer is closed, or was made before a fork.
        """
        self._check_usable()
        route = self._routes.get(type(event)) or self._find_route(type(event))
        value = encode(event, route.schema_id)
        self._deliveries.emitted()
        self._reports.source = event.source
        try:
            self._queue(route.topic, event, value)
        except BaseException as error:
            self._deliveries.emitted(-1)
            if isinstance(error, (QueueFullError, DeliveryError)):
                self._deliveries.dropped(event.source, route.topic)
            raise
        self.poll()

    def poll(self, timeout: float = 0.0) -> None:
        """Take in delivery reports, waiting up to `timeout` seconds for the first."""
        self._kafka.poll(timeout)
        self._reports.publish_due()

    def flush(self, timeout: float | None = None) -> int:
        """Wait until every event has arrived or failed; return how many are still on their way.

        Args:
            timeout: seconds; default: as long as a delivery may take, so that nothing is left.
        """
        if timeout is None:
            timeout = self._delivery_timeout + _REPORT_SLACK
        deadline = time.monotonic() + timeout
        # In steps, so that Ctrl-C gets through. Nobody waits for reports about ourselves.
        while self._kafka.flush(min(_WAIT_STEP, max(0.0, deadline - time.monotonic()))):
            self._reports.publish_due()
            if not self.counts.queued or time.monotonic() >= deadline:
                break
        return self.counts.queued

    def close(self, timeout: float | None = None) -> None:
        """Flush, give up what is left after `timeout` seconds, and take no more events.

        Raises:
            DeliveryError: some event since the beginning failed or is left undelivered.
        """
        if self._closed:
            return
        self._closed = True
        if self.flush(timeout):
            # Each abandoned event gets its report, so that its id is known.
            self._kafka.purge()
            self._kafka.flush(_REPORT_SLACK)
        if self._reports.publish():
            self._kafka.flush(_LAST_REPORT)
            self._kafka.purge()
        failure = self._failure()
        if failure:
            raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Who presses Ctrl-C does not want to wait until a lost broker is given up.
        interrupted = error is not None and not isinstance(error, Exception)
        try:
            self.close(_REPORT_SLACK if interrupted else None)
        except DeliveryError as failure:
            if error is None:
                raise
            error.add_note(str(failure))

    def _check_usable(self) -> None:
        if self._closed:
            raise ClosedError("the producer is closed; make a new one")
        if os.getpid() != self._pid:
            raise ClosedError(
                f"the producer was made in process {self._pid}, before a fork: its threads are not "
                f"here in {os.getpid()}; make one in this process"
            )

    def _find_route(self, family: type[Event]) -> _Route:
        if not (isinstance(family, type) and issubclass(family, Event)):
            raise TypeError(f"emit takes an event, not {family.__name__}")
        if family_of_topic(family.kafka_topic) is not family:
            raise ContractError(
                f"{family.__name__} is not the family of {family.kafka_topic}; "
                f"emit {family_of_topic(family.kafka_topic).__name__}, or give it its own topic "
                "and the entry point nilo.events"
            )
        topic = self._settings.topic_prefix + family.kafka_topic
        route = _Route(topic, self._registry.schema_id(family))
        self._routes[family] = route
        self._reports.begin(self._registry)
        return route

    def _queue(self, topic: str, event: Event, value: bytes) -> None:
        headers, key = cloud_event_headers(event), event.key
        report = partial(self._deliveries.report, event.id, event.source)
        deadline: float | None = None
        while True:
            try:
                self._kafka.produce(topic, value, key, headers=headers, on_delivery=report)
            except BufferError:
                deadline = deadline or time.monotonic() + self._queue_timeout
                self._wait_for_room(deadline)
            except confluent_kafka.KafkaException as error:
                raise DeliveryError(
                    f"event {event.id} for {topic} is refused: {error.args[0].str()}", 1, [event.id]
                ) from error
            else:
                return

    def _wait_for_room(self, deadline: float) -> None:
        if time.monotonic() >= deadline:
            raise QueueFullError(
                f"the local queue of {self.counts.queued - 1:,} events stayed full for "
                f"{self._queue_timeout:g} s: Kafka at {self._settings.brokers()} does not keep up; "
                "`nilo status` shows whether it runs; emit this event again later"
            )
        self._kafka.poll(_WAIT_STEP)

    def _failure(self) -> DeliveryError | None:
        counts, fates = self.counts, self._deliveries
        lost = counts.failed + counts.queued
        if not lost:
            return None
        return DeliveryError(
            f"{lost:,} of {lost + counts.delivered:,} events were not delivered to "
            f"{self._settings.brokers()} (last error: {fates.last_error or 'no answer'}; first "
            f"ids: {', '.join(fates.failed_ids[:3])}); `nilo status` shows what runs",
            lost,
            fates.failed_ids,
        )
