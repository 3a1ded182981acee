"""The lag of every consumer group of the installation, in messages and in seconds.

Names and labels are those of kafka_exporter (`kafka_consumergroup_lag`) and of kafka-lag-exporter
(`kafka_consumergroup_group_lag_seconds`), which dashboards know. The lag in seconds is the age of
the next message that the group has not read: by Kafka's timestamp, 0 where there is none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from confluent_kafka import KafkaException, Message
from confluent_kafka.admin import AdminClient
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nilo_consumers.asking import Asker
from nilo_schemas.clients import kafka_config
from nilo_schemas.groups import Place, Position, group_positions
from nilo_schemas.settings import Settings

Ages = dict[Place, tuple[Position, float | None]]


class LagCollector(Collector):
    """What was measured last; nothing when the last try failed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = AdminClient(kafka_config(settings) | {"log_level": 0})
        self._groups: dict[str, Ages] = {}

    def measure(self, asker: Asker) -> None:
        """Ask how far all groups are; raises KafkaException."""
        try:
            positions = group_positions(self._admin, self._settings)
        except KafkaException:
            self._groups = {}
            raise
        self._groups = {group: _ages(asker, places) for group, places in positions.items()}

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
        for group, places in self._groups.items():
            for (topic, partition), (position, age) in places.items():
                labels = [group, topic, str(partition)]
                messages.add_metric(labels, position.lag)
                if age is not None:
                    seconds.add_metric(labels, age)
        yield messages
        yield seconds


def _ages(asker: Asker, places: Mapping[Place, Position]) -> Ages:
    behind = {place: position.next for place, position in places.items() if position.lag}
    found = asker.first_messages(behind) if behind else {}
    now = time.time()
    return {
        place: (position, _age(found.get(place), now) if position.lag else 0.0)
        for place, position in places.items()
    }


def _age(message: Message | None, now: float) -> float | None:
    return None if message is None else max(0.0, now - message.timestamp()[1] / 1000)
