"""Reads topics back from Kafka, message by message, values as plain dicts."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import fastavro
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from nilo_schemas.clients import kafka_config
from nilo_schemas.framing import PREFIX, schema_id_of
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

Values = dict[str, Any]
TIMEOUT, PATIENCE = 10.0, 60.0  # seconds: of one question, of all its repetitions
T = TypeVar("T")


def quiet_config(settings: Settings, **more: Any) -> dict[str, Any]:
    """A client's configuration; a broker that is down, as planned, is no news on stderr."""
    return kafka_config(settings, **more) | {"log_level": 0}


class Decoder:
    """Confluent-framed Avro to dicts, by fastavro and the registry's schema alone."""

    def __init__(self, settings: Settings) -> None:
        self._registry = Registry(settings)
        self._parsed: dict[int, Any] = {}

    def __call__(self, value: bytes) -> Values:
        """The record as Avro's own types: durations and money stay integers."""
        number = schema_id_of(value[: PREFIX.size])
        if number not in self._parsed:
            self._parsed[number] = fastavro.parse_schema(self._registry.schema(number))
        read = fastavro.schemaless_reader(io.BytesIO(value[PREFIX.size :]), self._parsed[number])
        assert isinstance(read, dict)
        return read


def patiently(ask: Callable[[], T]) -> T:
    """The answer of a broker that may have come up this moment; raises KafkaException at last."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


class TopicReader:
    """Reads a topic from its beginning; each call of `news` goes on where the last one ended."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._topic = settings.topic_prefix + topic
        self._consumer = Consumer(
            quiet_config(settings, group_id=uuid.uuid4().hex, enable_auto_commit=False)
        )
        self._next = dict.fromkeys(range(patiently(self._partitions)), 0)
        self._consumer.assign([TopicPartition(self._topic, number, 0) for number in self._next])

    def _partitions(self) -> int:
        found = self._consumer.list_topics(self._topic, TIMEOUT).topics[self._topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return len(found.partitions)

    def _ends(self) -> dict[int, int]:
        """The offset after the last message of each partition."""
        return {
            number: self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, number), TIMEOUT
            )[1]
            for number in self._next
        }

    def news(self) -> Iterator[Message]:
        """The messages that came since the last call, each partition's in order.

        Raises:
            TimeoutError: nothing came for a minute, though there is more.
        """
        ends, heard = patiently(self._ends), time.monotonic()
        while any(self._next[number] < end for number, end in ends.items()):
            for message in self._consumer.consume(5_000, 0.2):
                error, number, offset = message.error(), message.partition(), message.offset()
                if error is not None:
                    continue  # the client goes on by itself when it can
                assert number is not None
                assert offset is not None
                self._next[number], heard = offset + 1, time.monotonic()
                yield message
            if time.monotonic() > heard + PATIENCE:
                raise TimeoutError(f"{self._topic}: nothing for {PATIENCE:g} s before {ends}")

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()
