"""Alert consumers under test, and how far their group is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from nilo_consumers import AlertConsumer
from nilo_consumers.alerts.reader import group_of
from nilo_schemas.alerts import Alert
from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings
from tests.alerts import an_alert


def consumer(settings: Settings, **more: Any) -> AlertConsumer:
    usual: dict[str, Any] = {"start": "beginning"}
    return AlertConsumer("pager", settings=settings, **usual | more)


def life(count: int, model: str = "atlas") -> list[Alert]:
    """So many transitions of one alert, which lie in one partition."""
    return [an_alert(revision=number, labels={"model": model}) for number in range(count)]


def committed(settings: Settings, group: str = "pager") -> dict[int, int]:
    """The offsets that the group has committed, by partition."""
    config = kafka_config(settings, group_id=group_of(settings, group))
    asker = Consumer(config | {"log_level": 0})
    topic = settings.topic_prefix + Alert.kafka_topic
    places = [TopicPartition(topic, number) for number in range(settings.partitions)]
    found = {each.partition: each.offset for each in asker.committed(places, timeout=10)}
    asker.close()
    return {partition: offset for partition, offset in found.items() if offset >= 0}


def take(alerts: Iterator[Alert], count: int) -> list[Alert]:
    return [next(alerts) for _ in range(count)]


def ids(alerts: Iterable[Alert]) -> list[str]:
    return [alert.id for alert in alerts]
