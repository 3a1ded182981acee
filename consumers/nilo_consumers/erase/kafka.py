"""Kafka: how many records of a subject are there still, and until when; tombstones where they help.

A record of a topic with retention cannot be taken out of it singly: it goes with its segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not so marked
    AdminClient,
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]  # as above
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]  # as above
)

from nilo_consumers.audit.in_kafka import LIMIT, InKafka, Messages
from nilo_consumers.batch import OFFSET
from nilo_consumers.decoding import Decoder
from nilo_consumers.erase import notes
from nilo_consumers.erase.receipt import KAFKA, Line
from nilo_consumers.erase.subject import in_columns
from nilo_schemas.alerts import STATE_TOPIC, Silence
from nilo_schemas.clients import kafka_config
from nilo_schemas.contracts import stored_records
from nilo_schemas.dead_letters import DLQ, REDRIVES_TOPIC
from nilo_schemas.errors import UnreachableError
from nilo_schemas.registry import Registry
from nilo_schemas.results import STATE_TOPICS
from nilo_schemas.settings import Settings
from nilo_schemas.topics import existing_topics, topic_specs

Ends = dict[str, dict[int, int]]
_CHECKS = timedelta(minutes=5)  # so often brokers look what is over, unless told otherwise
_DELIVERY = 30.0  # seconds


def ends(settings: Settings) -> Ends:
    """By topic (without prefix), the next offset of each partition; raises UnreachableError."""
    kafka = InKafka(settings)
    try:
        there = _topics(settings)
        found = {topic: kafka.bounds(topic) for topic in stored_records() if topic in there}
    finally:
        kafka.close()
    return {topic: {n: span.end for n, span in spans.items()} for topic, spans in found.items()}


def lines(
    settings: Settings,
    subject: str,
    *,
    scan: bool,
    tombstones: bool,
    tell: Callable[[str], None],
) -> Iterator[Line]:
    """A line for each of our topics that is there: what it holds of the subject, and until when.

    Args:
        settings: where Kafka is.
        subject: whose records.
        scan: read the topics; else nothing is known but the latest moment.
        tombstones: write them where a topic of events is compacted and its newest record of the
            key is the subject's.
        tell: called with the name of each topic that is about to be read.

    Raises:
        UnreachableError: the brokers or the registry do not answer.
    """
    there = _topics(settings)
    configs = _configs(settings, there)
    scanner = _Scanner(settings, subject)
    try:
        for topic in there:
            config = configs[topic]
            if not scan or topic.removeprefix(DLQ) not in stored_records():
                yield _unread(topic, config)
                continue
            tell(topic)
            found = scanner.read(topic)
            if tombstones and found.live and "compact" in config["cleanup.policy"]:
                _bury(settings, topic, subject, found.live)
            yield _line(topic, found, config, told=tombstones)
    finally:
        scanner.close()


@dataclass
class _Found:
    """What a topic holds of a subject.

    Args:
        records: how many; of those that do not decode, the ones whose bytes have the name in them.
        newest: Kafka's timestamp of the newest, in milliseconds.
        live: the partitions whose newest record with the subject as its key is the subject's.
    """

    records: int = 0
    newest: int = 0
    live: set[int] = field(default_factory=set)


class _Scanner:
    """Reads topics to their ends, column by column."""

    def __init__(self, settings: Settings, subject: str) -> None:
        self._prefix, self._subject, self._key = settings.topic_prefix, subject, subject.encode()
        self._decoder = Decoder(settings.topic_prefix, Registry(settings).schema)
        self._kafka = InKafka(settings)

    def close(self) -> None:
        """Let go of the brokers."""
        self._kafka.close()

    def read(self, topic: str) -> _Found:
        """Look at all that the topic holds now; a dead letter has the contract of its topic."""
        found = _Found()
        for messages in self._kafka.messages(topic):
            theirs = self._theirs(topic.removeprefix(DLQ), messages)
            found.records += len(theirs)
            found.newest = max([found.newest, *(one.timestamp()[1] for one in theirs)])
            self._note_live(found, messages, theirs)
        return found

    def _theirs(self, record: str, messages: Messages) -> Messages:
        part = self._prefix + record, messages[0].partition() or 0
        chunk, dead = self._decoder.chunk(part, 0, messages)
        rows = np.flatnonzero(in_columns(record, self._subject)(chunk.rows))
        offsets = set(chunk.rows[OFFSET].take(rows).to_pylist()) if len(rows) else set()
        offsets |= {each.offset for each in dead if each.message and self._named(each.message)}
        return [one for one in messages if one.offset() in offsets] if offsets else []

    def _named(self, message: Message) -> bool:
        return self._key in (message.value() or b"") or message.key() == self._key

    def _note_live(self, found: _Found, messages: Messages, theirs: Messages) -> None:
        if not theirs and not found.live:
            return
        keyed = [one for one in messages if one.key() == self._key]
        if keyed:
            newest = keyed[-1]
            live = newest in theirs and newest.value() is not None
            (found.live.add if live else found.live.discard)(newest.partition() or 0)


def _topics(settings: Settings) -> list[str]:
    """Our topics that are there, without prefix."""
    there = existing_topics(AdminClient(kafka_config(settings) | {"log_level": 0}))
    names = [spec.name for spec in topic_specs(settings)]
    return [name.removeprefix(settings.topic_prefix) for name in names if name in there]


def _configs(settings: Settings, topics: Sequence[str]) -> dict[str, dict[str, str]]:
    """The configuration of each topic in Kafka's own words; raises UnreachableError."""
    admin, prefix = AdminClient(kafka_config(settings) | {"log_level": 0}), settings.topic_prefix
    asked = [ConfigResource(ResourceType.TOPIC, prefix + topic) for topic in topics]
    try:
        found = admin.describe_configs(asked, request_timeout=LIMIT) if asked else {}
        return {
            resource.name.removeprefix(prefix): {
                name: entry.value for name, entry in job.result().items()
            }
            for resource, job in found.items()
        }
    except KafkaException as error:
        raise UnreachableError(
            f"no broker tells how long topics are kept: {error.args[0].str()}"
        ) from error


def _unread(topic: str, config: Mapping[str, str]) -> Line:
    if topic in STATE_TOPICS:
        return Line(KAFKA, topic, None, note=notes.STATE)
    others = {
        STATE_TOPIC: notes.ALERTS,
        Silence.kafka_topic: notes.SILENCES,
        REDRIVES_TOPIC: notes.REDRIVES,
    }
    note = others.get(topic, notes.PARTIALS)
    if topic.removeprefix(DLQ) in stored_records():
        note = "not looked at"
    if "delete" not in config["cleanup.policy"]:
        note = f"{note}; {notes.COMPACTED}"
    return Line(KAFKA, topic, None, until=gone_by(datetime.now(UTC), config), note=note)


def _line(topic: str, found: _Found, config: Mapping[str, str], *, told: bool) -> Line:
    if not found.records:
        return Line(KAFKA, topic)
    # A message without a time of its own counts as one of now.
    newest = _time(found.newest) if found.newest > 0 else datetime.now(UTC)
    note = f"readable until then; newest {newest.isoformat(timespec='seconds')}"
    if "compact" in config["cleanup.policy"]:
        partitions = f"partitions {', '.join(map(str, sorted(found.live)))}"
        note = (
            notes.TOMBSTONES.format(partitions=partitions)
            if told and found.live
            else notes.COMPACTED
        )
    return Line(KAFKA, topic, found.records, until=gone_by(newest, config), note=note)


def _time(milliseconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def gone_by(newest: datetime, config: Mapping[str, str]) -> datetime | None:
    """The latest moment at which retention removes a record of this time; None: no limit.

    A segment goes as a whole, `retention.ms` after its newest record, and takes records for
    `segment.ms` at most. Brokers look every five minutes and delete `file.delete.delay.ms` later.
    (Kafka's topic configuration, https://kafka.apache.org/documentation/#topicconfigs)
    """
    retention = int(config["retention.ms"])
    if retention < 0 or "delete" not in config["cleanup.policy"]:
        return None
    total = retention + int(config["segment.ms"]) + int(config["file.delete.delay.ms"])
    try:
        return newest + timedelta(milliseconds=total) + _CHECKS
    except OverflowError:
        return None


def _bury(settings: Settings, topic: str, subject: str, partitions: set[int]) -> None:
    """Write tombstones for a key; raises UnreachableError when one was not taken."""
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error:
            failed.append(error)

    producer: Any = Producer(
        kafka_config(settings, enable_idempotence=True)
        | {"log_level": 0, "delivery.timeout.ms": int(_DELIVERY * 1000)}
    )
    for number in sorted(partitions):
        producer.produce(
            settings.topic_prefix + topic,
            key=subject.encode(),
            value=None,
            partition=number,
            on_delivery=delivered,
        )
    producer.flush(_DELIVERY + 1)
    if failed or len(producer):
        why = failed[0].str() if failed else "no answer"
        raise UnreachableError(f"tombstones were not taken by {topic}: {why}")
