"""Dead letters on their way into their topics, each delivery checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from nilo_consumers.decoding import DeadLetter, headers_of
from nilo_schemas.clients import kafka_config
from nilo_schemas.dead_letters import dead_letter_headers, dead_letter_topic
from nilo_schemas.errors import Reason, UnreachableError
from nilo_schemas.settings import Settings

DELIVERY_LIMIT = 30.0  # seconds
_READ = (Reason.REFUSED, Reason.FAILED)  # what was wrong with these was not how they are written
_LARGEST = 64 * 1024 * 1024  # bytes; the broker's own limit decides, not the client's


class DeadLetters:
    """Produces dead letters of one consumer and waits until the broker has each of them."""

    def __init__(self, settings: Settings, connector: str) -> None:
        self._prefix, self._connector = settings.topic_prefix, connector
        self._producer = Producer(
            kafka_config(settings, enable_idempotence=True, compression_type="lz4")
            | {
                "message.max.bytes": _LARGEST,
                "log_level": 0,  # what is not delivered raises
                "delivery.timeout.ms": int(DELIVERY_LIMIT * 1000),
            }
        )

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Deliver all; raises UnreachableError when one was not taken (then give all again)."""
        failed: list[KafkaError] = []
        for letter in letters:
            self._produce(letter, failed, whole=True)
        self._producer.flush(DELIVERY_LIMIT + 1)
        if failed or len(self._producer):
            self._producer.purge()
            why = failed[0].str() if failed else "no answer"
            raise UnreachableError(
                f"dead letters of {self._connector} were not taken ({why}); "
                "see that the dlq.* topics exist: `nilo topics create`"
            )

    def _produce(self, letter: DeadLetter, failed: list[KafkaError], *, whole: bool) -> None:
        def delivered(error: KafkaError | None, _message: Message) -> None:
            # With its headers a message near the broker's limit is over it: the value then
            # stays at its origin, which the headers name.
            if error and whole and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                self._produce(letter, failed, whole=False)
            elif error:
                failed.append(error)

        message = letter.message
        self._producer.produce(
            dead_letter_topic(letter.topic, self._prefix),
            key=message.key() if message else None,
            value=message.value() if message and whole else None,
            headers=self._headers(letter, whole=whole),
            on_delivery=delivered,
        )

    def _headers(self, letter: DeadLetter, *, whole: bool) -> Any:
        note = "" if whole else " (too large to be copied: the value is at its origin only)"
        if letter.message is None:
            note = " (its message was deleted by retention before it could be copied)"
        return dead_letter_headers(
            headers_of(letter.message) if letter.message else None,
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
            connector=self._connector,
            stage="TASK_PUT" if letter.reason in _READ else "VALUE_CONVERTER",
            reason=letter.reason,
            detail=letter.detail + note,
        )
