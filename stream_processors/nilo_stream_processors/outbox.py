"""What the processors publish, through librdkafka: an event costs a microsecond or two here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from nilo_schemas.clients import kafka_config
from nilo_schemas.dead_letters import Header
from nilo_schemas.errors import NiloError, UnreachableError
from nilo_schemas.settings import Settings
from nilo_stream_processors.consumer_thread import DELIVERY_SECONDS, lease_clock

FLUSH_SECONDS = 0.5
# How many messages are handed over on one look at the clock: a few hundred microseconds.
LOOK_EVERY = 64
_PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)


class LostError(NiloError):
    """Our partitions may be another worker's by now: what is not sent must not be sent."""


class TooLargeError(NiloError):
    """A message is larger than the broker takes."""


class Outbox:
    """Messages on their way; `flush` returns when the broker has all of them.

    State and results are fenced: they leave only while the lease holds, that is, while no other
    worker can have been given our partitions. A process that was stopped for a while finds its
    lease over, and what waits in librdkafka's queue runs out of time with it.

    Args:
        lease: until when the partitions are ours for sure, by `clock`.
    """

    def __init__(
        self,
        settings: Settings,
        lease: Callable[[], float],
        *,
        clock: Callable[[], float] = lease_clock,
    ) -> None:
        self._settings, self._lease, self._clock = settings, lease, clock
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
                    message_timeout_ms=round(DELIVERY_SECONDS * 1000),
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
        fenced: bool = True,
    ) -> None:
        """Hand over a message; without a partition the key decides.

        Raises:
            LostError: it is fenced, and the lease is over.
            TooLargeError: the broker takes no message as large as this.
        """
        self._hand_over(topic, value, key, partition, headers=headers, fenced=fenced)
        self._handed += 1

    def send_all(self, topic: str, messages: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Hand over many fenced messages, as key and value; the key decides where to.

        Raises:
            LostError: the lease is over.
        """
        produce, note, rest = self._producer.produce, self._note, iter(messages)
        while block := list(islice(rest, LOOK_EVERY)):
            self._look()
            for key, value in block:
                try:
                    produce(topic, value, key, -1, note)
                except BufferError:
                    self._hand_over(topic, value, key, -1)
            self._handed += len(block)

    def _hand_over(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        *,
        headers: list[Header] | None = None,
        fenced: bool = True,
    ) -> None:
        """Wait for room in librdkafka's queue."""
        while True:
            if fenced:
                self._look()
            try:
                self._producer.produce(
                    topic, value, key, partition, self._note, headers=[*(headers or [])]
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise
                raise TooLargeError(f"a message for {topic}: {error.args[0].str()}") from None
            else:
                return

    def waiting(self) -> int:
        """How many messages the broker has not confirmed yet."""
        return len(self._made or ())

    def delivered(self) -> int:
        """How many messages have left."""
        return self._handed - self.waiting()

    def _look(self) -> None:
        if self._clock() >= self._lease():
            raise LostError("no heartbeat lately: another worker may have our partitions")

    def _note(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None and error.code() not in _PURGED:
            self._failed = error

    async def flush(self) -> None:
        """Wait until the broker has everything.

        Raises:
            LostError: messages ran out of time.
            UnreachableError: a message was refused for good.
        """
        while await asyncio.to_thread(self._producer.flush, FLUSH_SECONDS):
            pass
        failed, self._failed = self._failed, None
        if failed is None:
            return
        if failed.code() == KafkaError._MSG_TIMED_OUT:
            raise LostError(f"the broker did not answer for {DELIVERY_SECONDS:g} s")
        raise UnreachableError(f"the broker refused what was published: {failed.str()}")

    def purge(self) -> None:
        """Drop what has not left yet."""
        self._producer.purge(in_queue=True, in_flight=False)
        self._producer.poll(0)
        self._failed = None
