"""Rows that a store refuses: their messages are read once more, for their dead letters."""

from __future__ import annotations

import time
import uuid

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from nilo_consumers.batch import OFFSET, PARTITION, Batch
from nilo_consumers.dead import DeadLetters
from nilo_consumers.decoding import DeadLetter
from nilo_consumers.metrics import SinkMetrics
from nilo_schemas.clients import kafka_config
from nilo_schemas.dead_letters import Origin
from nilo_schemas.errors import Reason, UnreachableError
from nilo_schemas.settings import Settings

READ_LIMIT = 10.0  # seconds


class RefusedRows:
    """Makes dead letters of refused rows; such are rare, so their messages are not kept for it."""

    def __init__(self, settings: Settings, connector: str, metrics: SinkMetrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._dead = DeadLetters(settings, connector)

    def bury(self, batch: Batch, detail: str) -> None:
        """Deliver the dead letter of a batch's only row; raises UnreachableError when it cannot."""
        (partition,), (offset,) = (batch.rows[name].to_pylist() for name in (PARTITION, OFFSET))
        letter = DeadLetter(
            batch.topic,
            partition,
            offset,
            message_at(self._settings, Origin(batch.topic, partition, offset)),
            Reason.REFUSED,
            detail,
        )
        self._dead.send([letter])
        self._metrics.dead(batch.topic, Reason.REFUSED)


def message_at(settings: Settings, origin: Origin) -> Message | None:
    """The message that lies there; None when it was deleted meanwhile.

    Raises:
        UnreachableError: the brokers do not answer.
    """
    consumer = Consumer(
        # No group is joined; librdkafka wants a name all the same.
        kafka_config(
            settings,
            group_id=uuid.uuid4().hex,
            enable_auto_commit=False,
            auto_offset_reset="error",
        )
        | {"log_level": 0}
    )
    try:
        consumer.assign([TopicPartition(*origin)])
        return _first(consumer, origin)
    except KafkaException as error:
        raise UnreachableError(f"{origin} is not read: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _first(consumer: Consumer, origin: Origin) -> Message | None:
    until = time.monotonic() + READ_LIMIT
    while (left := until - time.monotonic()) > 0:
        message = consumer.poll(left)
        if message is None:
            continue
        error = message.error()
        if error is None:
            return message if message.offset() == origin.offset else None
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            return None
    raise UnreachableError(f"no broker gave {origin} in {READ_LIMIT:.0f} s")
