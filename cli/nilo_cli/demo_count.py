"""What each store holds of a run, read back from the store itself.

A run is the offsets that its events got: [begin, end) of each partition. So earlier runs on the
same stack do not count.
"""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from nilo_consumers.read import count_parquet, count_postgres
from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings

Ranges = dict[int, int]
FETCH = 10_000
TIMEOUT = 10.0


@dataclass(frozen=True)
class Tally:
    """How many events of a run each store holds; `prometheus` is None when it was not asked."""

    emitted: int
    kafka: int
    postgres: int
    parquet: int
    prometheus: int | None

    def rows(self) -> list[tuple[str, int]]:
        """Store and count."""
        rows = [
            ("emitted", self.emitted),
            ("in Kafka", self.kafka),
            ("in PostgreSQL", self.postgres),
            ("in Parquet", self.parquet),
        ]
        if self.prometheus is not None:
            rows.append(("in final windows (Prometheus)", self.prometheus))
        return rows

    def agree(self) -> bool:
        """Whether all counts are equal."""
        return len({count for _, count in self.rows()}) == 1


def end_offsets(settings: Settings, topic: str) -> Ranges:
    """The next offset of each partition of a topic."""
    consumer = _consumer(settings)
    try:
        return {
            number: consumer.get_watermark_offsets(
                TopicPartition(settings.topic_prefix + topic, number), timeout=TIMEOUT
            )[1]
            for number in range(settings.partitions)
        }
    finally:
        consumer.close()


def tally(
    settings: Settings, topic: str, before: Ranges, emitted: int, prometheus_url: str | None
) -> Tally:
    """Count a run in every store: the events from the offsets `before` on."""
    after = end_offsets(settings, topic)
    ranges = {number: (begin, after[number]) for number, begin in before.items()}
    return Tally(
        emitted=emitted,
        kafka=count_kafka(settings, topic, ranges),
        postgres=count_postgres(settings, topic, ranges=ranges),
        parquet=count_parquet(settings, topic, ranges=ranges),
        prometheus=count_prometheus(prometheus_url) if prometheus_url else None,
    )


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


def count_prometheus(url: str) -> int:
    """Calls counted in final windows, as a scrape of the Prometheus sink shows them."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310  our own address
        text = answer.read().decode()
    return round(
        sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "nilo_llm_calls_events_total"
        )
    )


def _consumer(settings: Settings) -> Consumer:
    return Consumer(kafka_config(settings, group_id="nilo-demo-count", enable_auto_commit=False))
