"""Reads stretches of offsets out of Kafka, and no more. Joins no group and commits nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from nilo_consumers.decoding import Decoder, by_partition
from nilo_schemas.clients import reader_config
from nilo_schemas.errors import UnreachableError
from nilo_schemas.groups import Place
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

# By topic (full name) and partition: the offsets `[first, stop)`.
Ranges = Mapping[Place, tuple[int, int]]
_MESSAGES = 2000  # in memory at a time
_PATIENCE = 30.0  # seconds without a message or an end


def decoded(
    settings: Settings,
    ranges: Ranges,
    wanted: Callable[[Message], bool] | None = None,
    *,
    decoder: Decoder | None = None,
) -> Iterator[tuple[Place, pa.Table]]:
    """The rows of some offsets with their origin, in order within each partition.

    What does not decode is left out, as is what Kafka has deleted.

    Args:
        settings: where the brokers are.
        ranges: which offsets.
        wanted: looks at a message before it is decoded.
        decoder: one that knows its schemas already, for somebody who reads many stretches.

    Raises:
        UnreachableError: nothing comes any more.
        KafkaException: reading fails for good.
    """
    decoder = decoder or decoder_of(settings)
    for messages in messages_of(settings, ranges):
        kept = messages if wanted is None else [each for each in messages if wanted(each)]
        for place, group in by_partition(kept).items():
            chunk, _ = decoder.chunk(place, 0, group)
            if chunk.rows.num_rows:
                yield place, chunk.rows


def decoder_of(settings: Settings) -> Decoder:
    """A decoder of all topics."""
    return Decoder(settings.topic_prefix, Registry(settings).schema)


def messages_of(settings: Settings, ranges: Ranges) -> Iterator[list[Message]]:
    """The messages at some offsets, in order within each partition; raises as `decoded` does."""
    left = {place: stop for place, (first, stop) in ranges.items() if first < stop}
    if not left:
        return
    consumer = Consumer(
        reader_config(settings, "nilo-ranges", wait_ms=10) | {"allow.auto.create.topics": False}
    )
    try:
        consumer.assign([TopicPartition(*place, ranges[place][0]) for place in left])
        deadline = time.monotonic() + _PATIENCE
        while left:
            fetched = _fetched(consumer)
            before = len(left)
            kept = [each for each in fetched if _is_wanted(each, left, consumer)]
            if kept or len(left) < before:
                deadline = time.monotonic() + _PATIENCE
            elif time.monotonic() > deadline:
                raise UnreachableError(
                    f"no messages of {min(left)[0]} came within {_PATIENCE:g} s; "
                    "`nilo status` shows what runs"
                )
            if kept:
                yield kept
    finally:
        consumer.close()


def _fetched(consumer: Consumer) -> list[Message]:
    first = consumer.poll(0.2)
    return [] if first is None else [first, *consumer.consume(_MESSAGES, 0)]


def _is_wanted(message: Message, left: dict[Place, int], consumer: Consumer) -> bool:
    """Whether a message is in its range; a partition whose range has been read is paused."""
    place, offset = _place(message), _offset(message)
    if place not in left:
        return False
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        if error.fatal() or not error.retriable():
            raise KafkaException(error)
        return False
    stop = left[place]
    if error is not None or offset >= stop - 1:
        del left[place]
        consumer.pause([TopicPartition(*place)])
    return error is None and offset < stop


def _place(message: Message) -> Place:
    return str(message.topic()), int(message.partition() or 0)


def _offset(message: Message) -> int:
    return int(message.offset() or 0)
