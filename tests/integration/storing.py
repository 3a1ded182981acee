"""Batches for the PostgreSQL sink, written without Kafka, and what its tables then hold."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg
import pyarrow as pa
from prometheus_client import CollectorRegistry

from nilo_consumers.batch import ORIGIN, Batch, Span
from nilo_consumers.postgres import PostgresSink
from nilo_consumers.postgres_days import partitions
from nilo_consumers.postgres_maintenance import Maintenance
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.families import LlmEvent
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.integration.sinking import LLM, query

LONG_AGO = datetime(2019, 5, 6, 7, tzinfo=UTC)
FAR_AHEAD = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def noon(days: int = 0) -> datetime:
    """Noon of the day that is so many days from today."""
    today = datetime.now(UTC).date()
    return datetime.combine(today + timedelta(days=days), time(12), UTC)


def llm_batch(
    settings: Settings, times: Sequence[datetime], *, start: int = 0, **more: Any
) -> Batch:
    """One LLM event at each time, with the offsets from `start` of partition 0."""
    event = LlmEvent(type="llm.call", source="direct").to_avro()
    row = event | {"attributes": [], "severity": "INFO"} | more
    rows = [
        row | {"time": at, "kafka_partition": 0, "kafka_offset": start + number}
        for number, at in enumerate(times)
    ]
    return _batch(settings, LLM, LlmEvent, rows, start)


def window_batch(settings: Settings, windows: Sequence[MetricWindow], *, start: int = 0) -> Batch:
    """Windows with the offsets from `start` of partition 0."""
    rows = [
        each.to_avro()
        | {name: list(getattr(each, name).items()) for name in ("dimensions", "quantiles")}
        | {"window_start": each.window_start, "window_end": each.window_end}
        | {"watermark": each.watermark, "histogram": None}
        | {"sources": [source.to_avro() for source in each.sources]}
        | {"kafka_partition": 0, "kafka_offset": start + number}
        for number, each in enumerate(windows)
    ]
    return _batch(settings, MetricWindow.kafka_topic, MetricWindow, rows, start)


def _batch(settings: Settings, topic: str, record: Any, rows: list[Any], start: int) -> Batch:
    table = pa.Table.from_pylist(rows, pa.schema([*arrow_schema(record), *ORIGIN]))
    return Batch(settings.topic_prefix + topic, table, {0: Span(start, start + len(rows))})


@contextmanager
def storing(settings: Settings, *topics: str) -> Iterator[PostgresSink]:
    """A connected sink for partition 0 of these topics (default: the LLM events)."""
    sink = PostgresSink(settings)
    sink.connect([(settings.topic_prefix + topic, 0) for topic in topics or (LLM,)])
    try:
        yield sink
    finally:
        sink.close()


@contextmanager
def database(settings: Settings) -> Iterator[psycopg.Connection]:
    """A connection in autocommit, which looks into the test's schema."""
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        path = settings.database_schema
        connection.execute("SELECT set_config('search_path', %s, false)", [path])
        yield connection


def maintained(settings: Settings) -> CollectorRegistry:
    """Do one round of the maintenance here and now; the registry with what failed in it."""
    registry = CollectorRegistry()
    with database(settings) as connection:
        Maintenance(settings, lambda: connection, registry).round(connection)
    return registry


def rows_by_day(settings: Settings, topic: str = LLM) -> dict[date | None, int]:
    """The rows of each partition, by its day; None is DEFAULT. Empty ones are left out."""
    with database(settings) as connection:
        found = partitions(connection, settings.database_schema, topic)
    counts = {
        each.day: query(settings, f"SELECT count(*) AS rows FROM {each.name}")[0]["rows"]
        for each in found
    }
    return {day: rows for day, rows in counts.items() if rows}


def at_once(work: Callable[[], object], times: int = 4) -> list[Exception]:
    """Do the same in so many threads at once; what they raised."""
    failed: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return failed
