"""What the processors publish, through librdkafka: an event costs a microsecond or two here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, Producer

from nilo_schemas.clients import kafka_config
from nilo_schemas.dead_letters import Header
from nilo_schemas.errors import UnreachableError
from nilo_schemas.settings import Settings

FLUSH_SECONDS = 0.5


class Outbox:
    """Messages on their way; `flush` returns when the broker has all of them.

    While the broker is away messages wait for it without end: nothing is committed meanwhile, so
    what is read is bounded.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: Producer | None = None
        self._failed: KafkaError | None = None
        self._handed = 0

    @property
    def _producer(self) -> Producer:
        if self._made is None:
            self._made = Producer(
                kafka_config(
                    self._settings,
                    enable_idempotence=True,
                    compression_type="lz4",
                    linger_ms=5,
                    message_timeout_ms=0,
                    delivery_report_only_error=True,
                    # As Java clients and aiokafka spread keys.
                    partitioner="murmur2_random",
                )
            )
        return self._made

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int = -1,
        headers: list[Header] | None = None,
    ) -> None:
        """Hand over a message; without a partition the key decides."""
        self._handed += 1
        while True:
            try:
                self._producer.produce(
                    topic, value, key, partition, self._note, headers=[*(headers or [])]
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def send_all(self, topic: str, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Hand over many messages without headers, as key and value; the key decides where to."""
        produce, note, sent = self._producer.produce, self._note, 0
        for key, value in messages:
            try:
                produce(topic, value, key, -1, note)
            except BufferError:
                self.send(topic, key, value)
            else:
                sent += 1
        self._handed += sent

    def delivered(self) -> int:
        """How many messages have left."""
        return self._handed - len(self._made or ())

    def _note(self, error: KafkaError | None, _message: Any) -> None:
        self._failed = error or self._failed

    async def flush(self) -> None:
        """Wait until the broker has everything.

        Raises:
            UnreachableError: a message was refused for good.
        """
        while await asyncio.to_thread(self._producer.flush, FLUSH_SECONDS):
            pass
        if self._failed is not None:
            raise UnreachableError(f"the broker refused what was published: {self._failed.str()}")
