"""Runs sinks in a thread and puts messages into topics, for the tests of the sinks."""

from __future__ import annotations

import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families
from psycopg.rows import dict_row

from nilo_consumers import count_parquet, count_postgres, count_sqlite, run_sink
from nilo_consumers.delta import DeltaSink
from nilo_consumers.postgres import PostgresSink
from nilo_consumers.sqlite import SqliteSink
from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import encode
from nilo_schemas.families import LlmEvent
from nilo_schemas.record import Record
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.integration.in_thread import InThread, working
from tests.integration.programs import wait_for

LLM = "events.llm"
COUNT: dict[str, Callable[..., int]] = {
    "postgres": count_postgres,
    "parquet": count_parquet,
    "sqlite": count_sqlite,
}
SINK: dict[str, Any] = {"postgres": PostgresSink, "parquet": DeltaSink, "sqlite": SqliteSink}
each_store = pytest.mark.parametrize("store", list(COUNT))


def wait_count(store: str, settings: Settings, rows: int, topic: str = LLM) -> None:
    """Wait for so many events of a topic in a store, none of them twice."""
    wait_for(f"{rows} rows in {store}", lambda: COUNT[store](settings, topic) >= rows)
    assert COUNT[store](settings, topic) == rows
    assert COUNT[store](settings, topic, distinct=True) == rows


def produce(settings: Settings, topic: str, values: Iterable[bytes], **more: Any) -> None:
    """Put message values into a topic, one partition after another unless `more` names one."""
    producer = Producer(kafka_config(settings, acks="all"))
    for number, value in enumerate(values):
        where: dict[str, Any] = {"partition": number % settings.partitions} | more
        while True:
            try:
                producer.produce(settings.topic_prefix + topic, value, **where)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0


def send(settings: Settings, records: Iterable[Record], **more: Any) -> None:
    """Put records into their topics."""
    registry = Registry(settings)
    for record in records:
        value = encode(record, registry.schema_id(type(record)))
        produce(settings, record.kafka_topic, [value], **more)


def calls(settings: Settings, number: int, **more: Any) -> None:
    """Put so many LLM events, all alike, into their topic."""
    schema_id = Registry(settings).schema_id(LlmEvent)
    value = encode(LlmEvent(type="llm.call", source="test", attributes={"a": "b"}), schema_id)
    produce(settings, LLM, [value] * number, **more)


class Running(InThread):
    """A sink that runs in a thread."""

    def __init__(self, name: str, settings: Settings, topics: list[str] | None) -> None:
        super().__init__(partial(run_sink, name, settings, topics=topics, metrics_port=0))

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """A scrape: the value of each name with its labels."""
        text = get(f"{self.url}/metrics")[1]
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def total(self, name: str) -> float:
        """The sum of a metric over its labels."""
        return sum(value for (found, _), value in self.samples().items() if found == name)


@contextmanager
def sinking(
    name: str, settings: Settings, *, topics: list[str] | None = None, wait: bool = True
) -> Iterator[Running]:
    """Run a sink while the block runs; its error is raised at the end."""
    with working(Running(name, settings, topics), f"sink {name}", wait=wait) as sink:
        yield sink


def get(url: str) -> tuple[int, str]:
    """Status and body of an HTTP GET."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def change_sqlite(settings: Settings, statement: str) -> None:
    """Change the SQLite file as another program would."""
    with closing(sqlite3.connect(settings.sqlite_location)) as connection, connection:
        connection.execute(statement)


def query(settings: Settings, statement: Any, *values: Any) -> list[dict[str, Any]]:
    """Rows of a query; the tables are found without the schema's name."""
    connect = psycopg.Connection[dict[str, Any]].connect
    with connect(settings.database(), row_factory=dict_row) as connection:
        connection.execute(
            "SELECT set_config('search_path', %s, false)", [settings.database_schema]
        )
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []
