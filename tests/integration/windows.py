"""Reads `metrics.windows` to its end."""

from __future__ import annotations

import uuid
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import decode
from nilo_schemas.registry import Registry
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings


def read_topic(settings: Settings, topic: str) -> list[Any]:
    """Every message that the topic holds now."""
    consumer = Consumer(kafka_config(settings, group_id=uuid.uuid4().hex))
    name, messages = settings.topic_prefix + topic, []
    partitions = consumer.list_topics(name, timeout=10).topics[name].partitions
    ends = {p: consumer.get_watermark_offsets(TopicPartition(name, p))[1] for p in partitions}
    left = {p for p, end in ends.items() if end}
    consumer.assign([TopicPartition(name, p, 0) for p in left])
    while left:
        for message in consumer.consume(5_000, 0.1):
            number, offset = message.partition(), message.offset()
            assert message.error() is None
            assert number is not None
            assert offset is not None
            messages.append(message)
            if offset >= ends[number] - 1:
                left.discard(number)
    consumer.close()
    return messages


def newest_windows(settings: Settings) -> dict[Any, MetricWindow]:
    """The last published state of every window, by metric, length, start and dimensions."""
    schema = Registry(settings).schema
    newest: dict[Any, MetricWindow] = {}
    for message in read_topic(settings, "metrics.windows"):
        window = decode(message.value(), MetricWindow, schema)
        key = (
            window.metric,
            window.window,
            window.window_start,
            tuple(sorted(window.dimensions.items())),
        )
        if key not in newest or newest[key].revision <= window.revision:
            newest[key] = window
    return newest
