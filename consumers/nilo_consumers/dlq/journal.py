"""The topic `redrives`: read as far as it goes, and written."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from nilo_consumers.dlq.history import Entry, History, parsed
from nilo_schemas.clients import kafka_config, reader_config
from nilo_schemas.dead_letters import REDRIVES_TOPIC
from nilo_schemas.errors import ContractError, UnreachableError
from nilo_schemas.settings import Settings

LIMIT = 10.0  # seconds in which a broker must answer
log = logging.getLogger(__name__)


class Journal:
    """What was redriven; for one thread.

    All methods raise UnreachableError when the brokers do not answer.

    Attributes:
        history: what was read so far.
    """

    def __init__(self, settings: Settings) -> None:
        self.history = History()
        self._settings = settings
        self._place = TopicPartition(settings.topic_prefix + REDRIVES_TOPIC, 0, 0)
        self._consumer = Consumer(reader_config(settings, "nilo-dlq", wait_ms=10))
        self._producer: Producer | None = None
        self._next = 0

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def read(self) -> History:
        """Take in what the topic holds by now.

        Raises:
            ContractError: there is no such topic.
        """
        try:
            end = self._end()
            while self._next < end:
                self._take(self._consumer.poll(LIMIT))
        except KafkaException as error:
            raise self._unread(error.args[0].str()) from error
        return self.history

    def write(self, entries: Iterable[Entry]) -> None:
        """Write records in this order; returns when Kafka has them."""
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error:
                failed.append(error)

        producer: Any = self._writer()
        for key, value in entries:
            text = None if value is None else json.dumps(value)
            producer.produce(self._place.topic, text, key, partition=0, on_delivery=delivered)
        producer.flush(LIMIT + 1)
        if failed or len(producer):
            producer.purge()
            why = failed[0].str() if failed else "no answer"
            raise UnreachableError(f"{self._place.topic} cannot be written ({why}); run it again")

    def _writer(self) -> Producer:
        if self._producer is None:
            config = kafka_config(
                self._settings, enable_idempotence=True, message_timeout_ms=int(LIMIT * 1000)
            )
            self._producer = Producer(config | {"log_level": 0})
        return self._producer

    def _end(self) -> int:
        """Where the topic ends; the first time, reading begins where it begins."""
        topics = self._consumer.list_topics(self._place.topic, timeout=LIMIT).topics
        if not topics[self._place.topic].partitions:
            raise ContractError(
                f"topic {self._place.topic} does not exist: run `nilo topics create`"
            )
        first, end = self._consumer.get_watermark_offsets(self._place, timeout=LIMIT)
        if not self._consumer.assignment():
            self._next = self._place.offset = first
            self._consumer.assign([self._place])
        return int(end)

    def _take(self, message: Message | None) -> None:
        if message is None:
            raise self._unread(f"nothing came in {LIMIT:.0f} s")
        error, offset = message.error(), message.offset() or 0
        if error is None:
            self._next = offset + 1
            self._learn(message, offset)
        elif error.code() == KafkaError._PARTITION_EOF:
            self._next = max(self._next, offset)
        elif error.fatal() or not error.retriable():
            raise KafkaException(error)

    def _learn(self, message: Message, offset: int) -> None:
        raw: Any = message.key()  # bytes, but for the stub
        try:
            self.history.take(offset, (raw or b"").decode(), parsed(message.value()))
        except (ValueError, KeyError, TypeError):
            log.warning("%s@%s is no record of ours: passed over", self._place.topic, offset)

    def _unread(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"{self._place.topic} cannot be read: {why}; `nilo status` shows what runs"
        )
