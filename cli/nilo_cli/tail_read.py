"""Reads the messages that `nilo tail` shows. Joins no group and commits nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from nilo_cli.cluster import connect
from nilo_cli.errors import UsageError
from nilo_cli.tail_offsets import Range, Span, ranges
from nilo_schemas.clients import reader_config
from nilo_schemas.errors import ContractError
from nilo_schemas.settings import Settings

_BATCH = 500
_WAIT = 0.2  # seconds; so that Ctrl-C gets through


def read(
    settings: Settings, topic: str, span: Span, *, partition: int | None, exit_at_end: bool
) -> Iterator[Message]:
    """The messages of a topic (full name) as they come.

    Args:
        settings: where the brokers are.
        topic: its full name.
        span: where to begin and to end.
        partition: only this one; None for all.
        exit_at_end: end when every partition is read up to its end.

    Raises:
        UnreachableError: no broker answers.
        ContractError: the topic does not exist.
        UsageError: it has no such partition.
        KafkaException: reading fails for good.
    """
    places = _places(settings, topic, partition)
    consumer = Consumer(_config(settings, hurried=exit_at_end))
    try:
        wanted = ranges(consumer, places, span)
        consumer.assign([TopicPartition(topic, each, wanted[each].first) for each in wanted])
        yield from _messages(consumer, wanted, exit_at_end)
    finally:
        consumer.close()


def _config(settings: Settings, *, hurried: bool) -> dict[str, Any]:
    name, wait_ms = f"nilo-tail-{uuid.uuid4().hex[:8]}", 10 if hurried else 500
    config = reader_config(settings, name, wait_ms=wait_ms)
    return config | {"allow.auto.create.topics": False}


def _places(settings: Settings, topic: str, partition: int | None) -> list[TopicPartition]:
    _, existing = connect(settings)
    if topic not in existing:
        raise ContractError(f"topic {topic} does not exist: run `nilo topics create`")
    count = existing[topic]
    if partition is not None and not 0 <= partition < count:
        raise UsageError(f"-p {partition}: topic {topic} has the partitions 0 to {count - 1}")
    chosen = range(count) if partition is None else [partition]
    return [TopicPartition(topic, each) for each in chosen]


def _messages(consumer: Consumer, wanted: dict[int, Range], exit_at_end: bool) -> Iterator[Message]:
    bounded = exit_at_end or all(each.stop is not None for each in wanted.values())
    left = {partition for partition, each in wanted.items() if each.stop != each.first}
    while left or not bounded:
        for message in _fetched(consumer):
            partition, error = _partition(message), message.error()
            if error is not None:
                # a partition has no more up to here: with a stop in the past there is none to come
                if _is_end(error):
                    left.discard(partition)
            elif _is_before(message, wanted[partition]):
                yield message
            else:
                left.discard(partition)


def _fetched(consumer: Consumer) -> list[Message]:
    """What has come; `consume` alone would wait until it has a whole batch, or its time is up."""
    first = consumer.poll(_WAIT)
    return [] if first is None else [first, *consumer.consume(_BATCH, 0)]


def _is_before(message: Message, wanted: Range) -> bool:
    offset: Any = message.offset()  # a message without an error has one
    return wanted.stop is None or offset < wanted.stop


def _partition(message: Message) -> int:
    partition: Any = message.partition()  # set on every message that a consumer gives
    return int(partition)


def _is_end(error: KafkaError) -> bool:
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    if error.fatal() or not error.retriable():
        raise KafkaException(error)
    return False
