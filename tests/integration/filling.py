"""Calls to work off, and how far a worker has come with them."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

from confluent_kafka import Consumer as RawConsumer
from confluent_kafka import KafkaException
from confluent_kafka import Producer as RawProducer
from confluent_kafka import TopicPartition as RawPartition

from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import encode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.integration.test_processors import call

EVENTS = 300_000
TOPIC = "events.llm"


def raw_producer(settings: Settings, **more: Any) -> RawProducer:
    config = kafka_config(settings, compression_type="lz4", linger_ms=20, **more)
    return RawProducer(config | {"queue.buffering.max.messages": 1_000_000})


def fill(settings: Settings, count: int = EVENTS, seconds: float = 300.0) -> None:
    """So many calls of models, evenly over `seconds` of event time and over the partitions."""
    schema_id = Registry(settings).schema_id(LlmEvent)
    distinct = 3_000
    values = [encode(call(seconds * n / distinct), schema_id) for n in range(distinct)]
    producer = raw_producer(settings)
    for number, value in enumerate(islice(cycle(values), count)):
        producer.produce(settings.topic_prefix + TOPIC, value, partition=number % 4)
    assert producer.flush(60) == 0


def group_of(settings: Settings) -> str:
    return f"{settings.topic_prefix}nilo-processors"


def committed(settings: Settings) -> int:
    """The sum of the committed offsets of the topic of calls; 0 while the broker looks for them."""
    consumer = RawConsumer(kafka_config(settings, group_id=group_of(settings)))
    partitions = [RawPartition(settings.topic_prefix + TOPIC, number) for number in range(4)]
    try:
        return sum(max(one.offset, 0) for one in consumer.committed(partitions, timeout=10))
    except KafkaException as error:
        if error.args[0].name() != "NOT_COORDINATOR":
            raise
        return 0
    finally:
        consumer.close()
