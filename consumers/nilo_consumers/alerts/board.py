"""What is known of alerts now: the newest transition of each, and what people say of them."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from nilo_consumers.alerts.suppress import Suppression, suppression
from nilo_consumers.group import TERMINAL, refused
from nilo_schemas.alerts import STATE_TOPIC, Alert, Silence
from nilo_schemas.clients import kafka_config, reader_config
from nilo_schemas.codec import decode
from nilo_schemas.errors import ContractError, DecodeError, UnreachableError
from nilo_schemas.groups import LAST, Place, offsets
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from nilo_schemas.topics import existing_topics

LIMIT = 10.0  # seconds
_FETCH = 1_000  # messages
_WAIT_MS = 10
log = logging.getLogger(__name__)


class Board:
    """Reads `alerts.state` and `alerts.silences` whole, and then what is new with each `refresh`.

    It belongs to no group and commits nothing. It holds one alert for each fingerprint and one
    silence for each id, as the compacted topics do. For one thread at a time.

        board = Board(settings)
        board.refresh()
        quiet = board.suppression(alert, datetime.now(UTC)).quiet

    Attributes:
        alerts: the newest transition of each alert, by fingerprint.
        silences: silences and acknowledgements by id, those that are over among them.
        undecoded: messages that did not decode; what was known under their keys is kept.
    """

    def __init__(self, settings: Settings) -> None:
        self.alerts: dict[str, Alert] = {}
        self.silences: dict[str, Silence] = {}
        self.undecoded = 0
        self._settings = settings
        self._schema = Registry(settings).schema
        self._state = settings.topic_prefix + STATE_TOPIC
        self._said = settings.topic_prefix + Silence.kafka_topic
        self._admin = AdminClient(kafka_config(settings) | {"log_level": 0})
        self._consumer = Consumer(reader_config(settings, "nilo-board", wait_ms=_WAIT_MS))
        self._next: dict[Place, int] = {}

    def refresh(self, timeout: float = LIMIT) -> None:
        """Take in all that the two topics hold at the moment of the call.

        Args:
            timeout: seconds; what was read by then is kept, and the next call reads on.

        Raises:
            UnreachableError: the brokers or the registry did not answer in time.
            ContractError: a topic does not exist.
            BrokerRefusedError: Kafka refuses us.
        """
        deadline = time.monotonic() + timeout
        if not self._next:
            self._begin(timeout)
        ends = self._ends()
        while any(self._next[place] < end for place, end in ends.items()):
            if time.monotonic() > deadline:
                raise UnreachableError(
                    f"{self._state} and {self._said} could not be read to their ends within "
                    f"{timeout:g} s; `nilo status` shows what runs"
                )
            self._read(min(0.1, timeout))

    def active(self) -> list[Alert]:
        """The alerts that are firing or without data."""
        return [alert for alert in self.alerts.values() if alert.active]

    def suppression(self, alert: Alert, now: datetime) -> Suppression:
        """Why nobody is told of an alert, by what was read last."""
        return suppression(alert, self.active(), self.silences.values(), now)

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def _begin(self, timeout: float) -> None:
        existing = existing_topics(self._admin, timeout)
        missing = [topic for topic in (self._state, self._said) if topic not in existing]
        if missing:
            raise ContractError(f"topic {missing[0]} does not exist: run `nilo topics create`")
        self._next = {
            (topic, number): 0
            for topic in (self._state, self._said)
            for number in range(existing[topic])
        }
        self._consumer.assign([TopicPartition(*place, 0) for place in self._next])

    def _ends(self) -> dict[Place, int]:
        try:
            return offsets(self._admin, [TopicPartition(*place) for place in self._next], LAST)
        except KafkaException as error:
            raise UnreachableError(
                f"no broker tells its offsets ({error.args[0].str()}); "
                "`nilo status` shows what runs"
            ) from error

    def _read(self, timeout: float) -> None:
        first = self._consumer.poll(timeout)
        for message in [] if first is None else [first, *self._consumer.consume(_FETCH, 0)]:
            error = message.error()
            if error is None:
                self._take(message)
                self._next[_place(message)] = _offset(message) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                # Behind the last message there may be offsets that hold none.
                self._next[_place(message)] = _offset(message)
            elif error.fatal() or error.code() in TERMINAL:
                raise refused(error)

    def _take(self, message: Message) -> None:
        key: Any = message.key()  # bytes, but for the stub
        value = message.value()
        held: dict[str, Any] = self.alerts if message.topic() == self._state else self.silences
        name = (key or b"").decode("utf-8", "replace")
        if value is None:
            held.pop(name, None)
            return
        try:
            held[name] = decode(value, Alert if held is self.alerts else Silence, self._schema)
        except DecodeError as error:
            if not self.undecoded:
                log.warning("%s: a message does not decode: %s", message.topic(), error)
            self.undecoded += 1


def _place(message: Message) -> Place:
    return str(message.topic()), int(message.partition() or 0)


def _offset(message: Message) -> int:
    return int(message.offset() or 0)
