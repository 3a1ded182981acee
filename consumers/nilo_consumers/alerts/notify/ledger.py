"""The topic `alerts.notified`: what was told, and who may tell.

Two locks, both Kafka's: the group gives the topic's only partition to one process, which is the one
that notifies; and a transactional id, which it takes over before it reads, fences whatever an
earlier one still writes. So nobody notifies who does not know all that was notified before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from nilo_consumers.alerts.notify.notification import Notes
from nilo_consumers.errors import FencedError
from nilo_consumers.group import TERMINAL, consumer_config, refused
from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import decode, encode
from nilo_schemas.errors import DecodeError, UnreachableError
from nilo_schemas.notified import Notified
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

LIMIT = 10.0  # seconds
_FENCED = {
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
}
log = logging.getLogger(__name__)


class Ledger:
    """Membership, what was told, and the writing of it; for one thread.

    Args:
        before_leaving: called when another process is to notify, while this one still may.

    Attributes:
        mine: whether this process is the one that notifies; None until the group has said.
    """

    def __init__(self, settings: Settings, before_leaving: Callable[[], None]) -> None:
        self.mine: bool | None = None
        self._settings = settings
        self._topic = settings.topic_prefix + Notified.kafka_topic
        self._registry = Registry(settings)
        self._producer: Producer | None = None
        self._before_leaving = before_leaving
        # Sticky: who comes does not take the work from who does it.
        sticky = {"partition.assignment.strategy": "cooperative-sticky"}
        self._member = Consumer(consumer_config(settings, "notify") | sticky)
        self._member.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def poll(self, seconds: float) -> None:
        """Stay in the group and hear what it says; raises BrokerRefusedError."""
        for message in self._member.consume(1, seconds):
            _check(message)

    def take_over(self) -> dict[str, Notified]:
        """Fence all earlier writers, then read what they have written.

        Raises:
            UnreachableError: Kafka does not answer.
            FencedError: another process took over meanwhile.
        """
        self._producer = Producer(
            kafka_config(
                self._settings,
                transactional_id=f"{self._settings.topic_prefix}nilo-notify",
                transaction_timeout_ms=int(LIMIT * 1000),
            )
            | {"log_level": 0}
        )
        self._attempt(lambda producer: producer.init_transactions(LIMIT))
        return read_notified(self._settings, self._registry)

    def write(self, notes: Notes) -> None:
        """Write all or nothing; returns when Kafka has it.

        Raises:
            UnreachableError: Kafka does not answer: whether it has it is not known.
            FencedError: another process has taken over; nothing is written.
        """
        schema_id = self._registry.schema_id(Notified)
        values = {
            key: None if note is None else encode(note, schema_id) for key, note in notes.items()
        }

        def begin(producer: Producer) -> None:
            producer.begin_transaction()
            for key, value in values.items():
                producer.produce(self._topic, value, key, partition=0)

        self._attempt(begin, again=False)
        self._attempt(lambda producer: producer.commit_transaction(LIMIT))

    def close(self) -> None:
        """Leave the group."""
        self._member.close()

    def _attempt(self, work: Callable[[Producer], None], *, again: bool = True) -> None:
        """Do a step of a transaction, `again` while Kafka says that it may be done again."""
        deadline = time.monotonic() + LIMIT
        assert self._producer is not None  # noqa: S101  narrowing: taken over before anything else
        while True:
            try:
                work(self._producer)
            except KafkaException as exception:
                error = exception.args[0]
                if error.code() in _FENCED:
                    raise FencedError("another process notifies now") from None
                if error.code() in TERMINAL:
                    raise refused(error) from exception
                if not (again and error.retriable()) or time.monotonic() > deadline:
                    raise UnreachableError(
                        f"{self._topic} cannot be written: {error.str()}"
                    ) from exception
            else:
                return

    def _on_assign(self, consumer: Consumer, parts: list[TopicPartition]) -> None:
        # It is read by another consumer, at the moment of taking over: this one is a member only.
        consumer.incremental_assign(parts)
        consumer.pause(parts)
        self.mine = self.mine or bool(parts)

    def _on_revoke(self, _consumer: Consumer, parts: list[TopicPartition]) -> None:
        if parts and self.mine:
            self._before_leaving()
            self.mine = False

    def _on_lost(self, _consumer: Consumer, _parts: list[TopicPartition]) -> None:
        self.mine = False


def read_notified(settings: Settings, registry: Registry) -> dict[str, Notified]:
    """All that the topic holds, by key; raises UnreachableError when it does not come in time."""
    config = kafka_config(
        settings,
        group_id=f"{settings.topic_prefix}nilo-notified",  # librdkafka wants one to be named
        enable_auto_commit=False,
        enable_partition_eof=True,
        isolation_level="read_committed",
    )
    topic = settings.topic_prefix + Notified.kafka_topic
    consumer, found = Consumer(config | {"log_level": 0}), dict[str, Notified]()
    consumer.assign([TopicPartition(topic, 0, 0)])
    deadline = time.monotonic() + LIMIT
    try:
        while time.monotonic() < deadline:
            for message in consumer.consume(1_000, 0.1):
                if (error := message.error()) and error.code() == KafkaError._PARTITION_EOF:
                    return found
                _check(message)
                if error is None:
                    _take(found, message, registry)
    finally:
        consumer.close()
    raise UnreachableError(f"{topic} could not be read to its end within {LIMIT:g} s")


def _take(found: dict[str, Notified], message: Message, registry: Registry) -> None:
    raw: Any = message.key()  # bytes, but for the stub
    key, value = (raw or b"").decode("utf-8", "replace"), message.value()
    if value is None:
        found.pop(key, None)
        return
    try:
        found[key] = decode(value, Notified, registry.schema)
    except DecodeError as error:
        log.warning("%s: what was told of %s does not decode: %s", message.topic(), key, error)


def _check(message: Message) -> None:
    error = message.error()
    if error is not None and (error.fatal() or error.code() in TERMINAL):
        raise refused(error)
