"""The partitions to which messages are sent again: where they end, what lies in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from nilo_consumers.audit.in_kafka import InKafka
from nilo_consumers.batch import Span
from nilo_consumers.decoding import TopicPart, headers_of
from nilo_schemas.clients import kafka_config
from nilo_schemas.dead_letters import REDRIVEN_FROM, Header, Origin
from nilo_schemas.settings import Settings

_LARGEST = 64 * 1024 * 1024  # bytes; the broker's own limit decides, not the client's


@dataclass(frozen=True)
class Parcel:
    """A message to be sent to the partition that it came from."""

    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]

    @property
    def part(self) -> TopicPart:
        """Topic and partition."""
        return self.origin.topic, self.origin.partition


@dataclass(frozen=True)
class Delivered:
    """What became of messages.

    Args:
        offsets: those that were sent, and where they lie now.
        too_large: those that the broker does not take.
        unknown: of each of the others, why nobody knows whether it was sent.
    """

    offsets: dict[Origin, int]
    too_large: set[Origin]
    unknown: list[str]


class Target:
    """Sends, and looks whether a message was sent; raises UnreachableError.

    Args:
        seconds: for so long a message may be on its way; what has not arrived then never does.
    """

    def __init__(self, settings: Settings, seconds: float) -> None:
        # Of its own: a consumer that waits for messages answers no question meanwhile.
        self._kafka = InKafka(settings)
        self._prefix, self._seconds = settings.topic_prefix, seconds
        self._producer: Any = Producer(
            kafka_config(settings, enable_idempotence=True, compression_type="lz4")
            | {
                "message.max.bytes": _LARGEST,
                "message.timeout.ms": int(seconds * 1000),
                "log_level": 0,  # what is not delivered is told
            }
        )

    def close(self) -> None:
        """Let go of the brokers."""
        self._kafka.close()

    def spans(self, parts: Iterable[TopicPart]) -> dict[TopicPart, Span]:
        """First and next offset of these partitions; of one that does not exist nothing."""
        wanted = set(parts)
        found: dict[TopicPart, Span] = {}
        for topic in {topic for topic, _ in wanted}:
            bounds = self._kafka.bounds(topic.removeprefix(self._prefix))
            found |= {(topic, number): span for number, span in bounds.items()}
        return {part: span for part, span in found.items() if part in wanted}

    def send(self, parcels: Sequence[Parcel]) -> Delivered:
        """Send all, each once, and wait until it is known what became of them."""
        told = Delivered({}, set(), [])
        for parcel in parcels:

            def delivered(
                error: KafkaError | None, message: Message, origin: Origin = parcel.origin
            ) -> None:
                if error is None:
                    told.offsets[origin] = message.offset() or 0
                elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    told.too_large.add(origin)
                else:
                    told.unknown.append(error.str())

            self._producer.produce(
                parcel.origin.topic,
                parcel.value,
                parcel.key,
                partition=parcel.origin.partition,
                headers=list(parcel.headers),
                on_delivery=delivered,
            )
        self._producer.flush(self._seconds + 1)
        silent = len(parcels) - len(told.offsets) - len(told.too_large) - len(told.unknown)
        told.unknown.extend(["no answer"] * silent)
        return told

    def find(self, part: TopicPart, since: int) -> dict[Origin, int]:
        """The redriven messages in a partition from an offset on, and where they lie."""
        topic, number = part
        found: dict[Origin, int] = {}
        for messages in self._kafka.messages(
            topic.removeprefix(self._prefix), since={number: since}
        ):
            for message in messages:
                if origin := _redriven(message):
                    found[origin] = message.offset() or 0
        return found


def _redriven(message: Message) -> Origin | None:
    value = dict(headers_of(message)).get(REDRIVEN_FROM)
    try:
        return None if value is None else Origin.parse(value.decode())
    except ValueError:
        return None
