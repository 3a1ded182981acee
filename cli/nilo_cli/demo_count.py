"""What each store holds of a run, read back from the store itself.

A run is the offsets that its events got: [begin, end) of each partition. So earlier runs on the
same stack do not count.
"""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from confluent_kafka import Consumer, TopicPartition

from nilo_consumers.read import count_parquet, count_postgres, windows_postgres
from nilo_schemas.clients import kafka_config
from nilo_schemas.dead_letters import dead_letter_topic
from nilo_schemas.settings import Settings

FETCH = 10_000
WINDOW_SECONDS = 10
TIMEOUT = 10.0


@dataclass(frozen=True)
class Before:
    """What there was when the run began: the time, and the next offsets by partition."""

    time: datetime
    events: dict[int, int]
    dead: dict[int, int]


@dataclass(frozen=True)
class Tally:
    """How many events of a run each store holds, and how many messages went to the dead letters.

    `windows` is None for a file: its events may be older than windows that have closed.
    """

    emitted: int
    kafka: int
    postgres: int
    parquet: int
    windows: int | None
    dead: int

    def rows(self) -> list[tuple[str, int]]:
        """Store and count."""
        rows = [
            ("emitted", self.emitted),
            ("in Kafka", self.kafka),
            ("in PostgreSQL", self.postgres),
            ("in Parquet", self.parquet),
        ]
        if self.windows is not None:
            rows.append(("in final windows of 10 s", self.windows))
        return rows

    def agree(self) -> bool:
        """Whether all counts are equal."""
        return len({count for _, count in self.rows()}) == 1


def before_run(settings: Settings, topic: str) -> Before:
    """What there is now."""
    dead = end_offsets(settings, dead_letter_topic(topic))
    return Before(datetime.now(UTC), end_offsets(settings, topic), dead)


def end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """The next offset of each partition of a topic."""
    consumer = _consumer(settings)
    name = settings.topic_prefix + topic
    try:
        partitions = consumer.list_topics(name, timeout=TIMEOUT).topics[name].partitions
        return {
            number: consumer.get_watermark_offsets(TopicPartition(name, number), timeout=TIMEOUT)[1]
            for number in partitions
        }
    finally:
        consumer.close()


def tally(settings: Settings, topic: str, before: Before, emitted: int, *, fleet: bool) -> Tally:
    """Count a run in every store: what has come since `before`."""
    after = end_offsets(settings, topic)
    ranges = {number: (begin, after[number]) for number, begin in before.events.items()}
    dead = end_offsets(settings, dead_letter_topic(topic))
    return Tally(
        emitted=emitted,
        kafka=count_kafka(settings, topic, ranges),
        postgres=count_postgres(settings, topic, ranges=ranges),
        parquet=count_parquet(settings, topic, ranges=ranges),
        windows=count_windows(settings, before.time) if fleet else None,
        dead=sum(dead.values()) - sum(before.dead.values()),
    )


def count_windows(settings: Settings, since: datetime) -> int:
    """Calls in the final windows of a run that began at `since`, from PostgreSQL."""
    first = since - timedelta(seconds=since.timestamp() % WINDOW_SECONDS)
    found = windows_postgres(settings, "llm.calls", window=f"{WINDOW_SECONDS}s", since=first)
    return sum(window.count for window in found)


def scraped(url: str, name: str) -> list[str]:
    """The lines of one metric in a scrape of the Prometheus sink."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310  our own address
        lines = answer.read().decode().splitlines()
    return [line for line in lines if line.startswith(name + "{")]


def count_kafka(settings: Settings, topic: str, ranges: dict[int, tuple[int, int]]) -> int:
    """Messages that a consumer really gets out of the ranges."""
    consumer = _consumer(settings)
    name = settings.topic_prefix + topic
    left = {number for number, (begin, end) in ranges.items() if begin < end}
    consumer.assign([TopicPartition(name, number, ranges[number][0]) for number in left])
    found = 0
    try:
        while left:
            messages = consumer.consume(FETCH, TIMEOUT)
            if not messages:
                return found
            for message in messages:
                number, offset = message.partition(), message.offset()
                if message.error() is not None or number is None or offset is None:
                    continue
                found += offset < ranges[number][1]
                if offset >= ranges[number][1] - 1:
                    left.discard(number)
    finally:
        consumer.close()
    return found


def _consumer(settings: Settings) -> Consumer:
    return Consumer(kafka_config(settings, group_id="nilo-demo-count", enable_auto_commit=False))
