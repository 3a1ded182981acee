"""What Kafka has: the offsets of a topic, its dead letters, and the windows that are no rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import chain

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from nilo_consumers.batch import Span
from nilo_consumers.decoding import headers_of
from nilo_schemas.clients import kafka_config
from nilo_schemas.dead_letters import dead_letter_topic, story_of
from nilo_schemas.errors import UnreachableError
from nilo_schemas.settings import Settings

LIMIT = 10.0  # seconds in which a broker must answer
PATIENCE = 60.0  # seconds in which the next message must come
FETCH = 10_000
_GATHER = 0.05  # seconds for what comes with the first message
Messages = list[Message]
# By connector, reason and partition: the offsets.
DeadOffsets = dict[tuple[str, str], dict[int, list[int]]]


class InKafka:
    """Reads topics of one installation; names are without prefix.

    All methods raise UnreachableError when the brokers do not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.topic_prefix
        self._consumer = Consumer(
            # No group is joined; librdkafka wants a name all the same.
            kafka_config(
                settings,
                group_id="nilo-audit",
                enable_auto_commit=False,
                enable_partition_eof=True,
                fetch_queue_backoff_ms=50,
                auto_offset_reset="earliest",
            )
            | {"log_level": 0}
        )

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def bounds(self, topic: str) -> dict[int, Span]:
        """The first and the next offset of each partition; none when the topic is not there."""
        name = self._prefix + topic
        with _asking(f"the offsets of {name}"):
            found = self._consumer.list_topics(name, timeout=LIMIT).topics[name]
            return {
                number: Span(*self._consumer.get_watermark_offsets(
                    TopicPartition(name, number), timeout=LIMIT
                ))
                for number in sorted(found.partitions)
            }  # fmt: skip

    def at(self, topic: str, when: datetime, bounds: Mapping[int, Span]) -> dict[int, int]:
        """The first offset of each partition whose message came to Kafka at that time or later."""
        name, stamp = self._prefix + topic, int(when.timestamp() * 1000)
        with _asking(f"the offsets of {name} at {when}"):
            places = [TopicPartition(name, number, stamp) for number in bounds]
            found = self._consumer.offsets_for_times(places, timeout=LIMIT) if places else []
        return {
            place.partition: place.offset if place.offset >= 0 else bounds[place.partition].end
            for place in found
        }

    def dead_letters(self, topic: str) -> DeadOffsets:
        """The origins of the dead letters of a topic; what is none of ours there says nothing."""
        found: DeadOffsets = {}
        for message in chain.from_iterable(self.messages(dead_letter_topic(topic))):
            if story := story_of(headers_of(message)):
                by_partition = found.setdefault((story.connector, story.reason), {})
                by_partition.setdefault(story.origin.partition, []).append(story.origin.offset)
        return found

    def messages(
        self,
        topic: str,
        until: Mapping[int, int] | None = None,
        *,
        since: Mapping[int, int] | None = None,
    ) -> Iterator[Messages]:
        """All messages that a topic holds now, some at a time, each time of one partition.

        Args:
            until: by partition, the offset to stop at (default: the end).
            since: by partition, the offset to begin at; others are left out (default: all).
        """
        name, bounds = self._prefix + topic, self.bounds(topic)
        if since is not None:
            firsts = {number: max(first, bounds[number].start) for number, first in since.items()}
            bounds = {number: Span(first, bounds[number].end) for number, first in firsts.items()}
        ends = {number: span.end for number, span in bounds.items()} | dict(until or {})
        left = {number for number, end in ends.items() if bounds[number].start < end}
        with _asking(f"the messages of {name}"):
            self._consumer.assign([TopicPartition(name, n, bounds[n].start) for n in left])
            while left:
                for number, found in self._some(name).items():
                    inside = [one for one in found if not one.error() and _at(one) < ends[number]]
                    if len(inside) < len(found):  # it ends here, or lies behind
                        left.discard(number)
                    if inside:
                        yield inside
            self._consumer.unassign()

    def _some(self, name: str) -> dict[int, Messages]:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            # `consume` alone would wait until it has as many, or its time is up.
            first = self._consumer.poll(0.5)
            more = [first, *self._consumer.consume(FETCH, _GATHER)] if first else []
            if found := _by_partition(more):
                return found
        raise UnreachableError(f"no message of {name} came in {PATIENCE:.0f} s")


def _by_partition(messages: Messages) -> dict[int, Messages]:
    """Messages and ends of partitions; broken connections heal by themselves in librdkafka."""
    found: dict[int, Messages] = {}
    for message in messages:
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            found.setdefault(_int(message.partition()), []).append(message)
    return found


def _at(message: Message) -> int:
    return _int(message.offset())


def _int(value: int | None) -> int:
    assert value is not None  # noqa: S101  a message that was received has it
    return value


@contextmanager
def _asking(what: str) -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise UnreachableError(f"no broker tells {what}: {error.args[0].str()}") from error
