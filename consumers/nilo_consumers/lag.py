"""The lag of every consumer group of the installation, in messages and in seconds.

Names and labels are those of kafka_exporter (`kafka_consumergroup_lag`) and of kafka-lag-exporter
(`kafka_consumergroup_group_lag_seconds`), which dashboards know. The lag in seconds is the age of
the next message that the group has not read: by Kafka's timestamp, 0 where there is none.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nilo_schemas.clients import kafka_config
from nilo_schemas.groups import Place, Position, group_positions
from nilo_schemas.settings import Settings

EVERY = 10.0  # seconds
_READ = 5.0  # seconds in which the next messages of a group must come
_FETCH = 1024  # bytes; a broker gives one whole batch at least
log = logging.getLogger(__name__)
Groups = dict[str, dict[Place, tuple[Position, float | None]]]


class LagCollector(Collector):
    """What was measured last; nothing when the last try failed."""

    def __init__(self) -> None:
        self.groups: Groups = {}

    def collect(self) -> Iterator[Metric]:
        """The lag of each partition of each group."""
        messages = GaugeMetricFamily(
            "kafka_consumergroup_lag",
            "Messages between what the group has committed and the end of the partition",
            labels=["consumergroup", "topic", "partition"],
        )
        seconds = GaugeMetricFamily(
            "kafka_consumergroup_group_lag_seconds",
            "Age of the next message that the group has not read",
            labels=["group", "topic", "partition"],
        )
        for group, places in self.groups.items():
            for (topic, partition), (position, age) in places.items():
                labels = [group, topic, str(partition)]
                messages.add_metric(labels, position.lag)
                if age is not None:
                    seconds.add_metric(labels, age)
        yield messages
        yield seconds


@contextmanager
def measuring(settings: Settings, collector: LagCollector) -> Iterator[None]:
    """Measure every ten seconds, in a thread of its own, while the block runs."""
    stop = threading.Event()
    thread = threading.Thread(target=_measure, args=(settings, collector, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _measure(settings: Settings, collector: LagCollector, stop: threading.Event) -> None:
    admin = AdminClient(kafka_config(settings) | {"log_level": 0})
    consumer = Consumer(_config(settings))
    failed = False
    while not stop.is_set():
        try:
            collector.groups = {
                group: _with_ages(consumer, places, stop)
                for group, places in group_positions(admin, settings).items()
            }
            failed = False
        except KafkaException as error:
            collector.groups = {}
            if not failed:
                log.warning("the lag of the groups is not known: %s", error.args[0].str())
            failed = True
        stop.wait(EVERY)
    consumer.close()


def _config(settings: Settings) -> dict[str, Any]:
    # It never joins its group and commits nothing: librdkafka wants one to be named.
    return kafka_config(
        settings,
        group_id=f"{settings.topic_prefix}nilo-lag",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_message_max_bytes=_FETCH,
        queued_min_messages=1,
    ) | {"log_level": 0}


def _with_ages(
    consumer: Consumer, places: Mapping[Place, Position], stop: threading.Event
) -> dict[Place, tuple[Position, float | None]]:
    behind = {place: position.next for place, position in places.items() if position.lag}
    found = _next_messages(consumer, behind, stop) if behind else {}
    now = time.time()
    return {
        place: (position, _age(found.get(place), now) if position.lag else 0.0)
        for place, position in places.items()
    }


def _age(message: Message | None, now: float) -> float | None:
    return None if message is None else max(0.0, now - message.timestamp()[1] / 1000)


def _next_messages(
    consumer: Consumer, wanted: Mapping[Place, int], stop: threading.Event
) -> dict[Place, Message]:
    """The first message at or behind each offset, as far as they come in time."""
    consumer.assign([TopicPartition(*place, offset) for place, offset in wanted.items()])
    found: dict[Place, Message] = {}
    deadline = time.monotonic() + _READ
    while len(found) < len(wanted) and time.monotonic() < deadline and not stop.is_set():
        for message in consumer.consume(100, 0.1):
            topic, partition = message.topic(), message.partition()
            if message.error() is None and topic is not None and partition is not None:
                found.setdefault((topic, partition), message)
    consumer.unassign()
    return found
