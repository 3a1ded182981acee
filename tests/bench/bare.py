"""The limits: rows that are ready in memory into PostgreSQL by COPY, and into a Parquet file.

As a program it reads the topic into memory, in batches as the sink's own, writes them and prints
what the writing took, in JSON; `copy` and `write_table` run that program under measurement.

    python -m tests.bench.bare copy
    python -m tests.bench.bare write_table
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import psutil
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, TopicPartition
from psycopg import sql

from nilo_consumers.batch import Holding, Policy
from nilo_consumers.csv_text import csv_text
from nilo_consumers.decoding import Decoder, by_partition
from nilo_consumers.postgres import PostgresSink
from nilo_consumers.postgres_days import days_of, make_day
from nilo_consumers.staying import FETCH
from nilo_consumers.tables import create_table, table_name
from nilo_schemas.clients import kafka_config
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings, load_settings
from tests.bench.measure import Run, started
from tests.bench.topic import TOPIC


def store(settings: Settings, way: str) -> Run:
    """A new process does one of the two.

    Args:
        settings: where the servers are, and a schema or a folder with nothing in it.
        way: `copy` or `write_table`.
    """
    command, environment = [sys.executable, "-m", __name__, way], os.environ
    log = settings.home / f"bare-{way}.log"
    with started(command, environment | settings.environment(), log) as measured:
        told = json.loads(measured.finish())
    return Run(told["events"], told["seconds"], told["cpu"], told["rss"])


def main() -> None:
    """Read, write, tell."""
    settings, way = load_settings(), _WAYS[sys.argv[1]]
    batches = list(_batches(settings))
    rows = sum(batch.num_rows for batch in batches)
    seconds, cpu = way(settings, batches)
    rss = psutil.Process().memory_info().rss
    json.dump({"events": rows, "seconds": seconds, "cpu": cpu, "rss": rss}, sys.stdout)


def _batches(settings: Settings) -> Iterator[pa.Table]:
    """The topic's rows in batches as the runner makes them for the PostgreSQL sink."""
    consumer = Consumer(kafka_config(settings, group_id=uuid.uuid4().hex))
    decoder = Decoder(settings.topic_prefix, Registry(settings).schema)
    topic = settings.topic_prefix + TOPIC
    places = [TopicPartition(topic, number, 0) for number in range(settings.partitions)]
    left = sum(consumer.get_watermark_offsets(place)[1] for place in places)
    consumer.assign(places)
    holding = Holding(topic, Policy(PostgresSink.policy.rows, 3600.0), time.monotonic)
    while left > 0:
        messages = consumer.consume(FETCH, 0.1)
        left -= len(messages)
        for part, members in by_partition(messages).items():
            chunk, _ = decoder.chunk(part, members[0].offset() or 0, members)
            if holding.add(chunk) or left == 0:
                batch = holding.take()
                if batch is not None:
                    yield batch.rows
    consumer.close()
    if (batch := holding.take()) is not None:
        yield batch.rows


def _copy(settings: Settings, batches: list[pa.Table]) -> tuple[float, float]:
    """A transaction for each batch, as the sink has; the text is there before the clock starts."""
    texts = [csv_text(batch).to_pybytes() for batch in batches]
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        schema = settings.database_schema
        _make(connection, schema, batches)
        names = sql.SQL(", ").join(map(sql.Identifier, batches[0].column_names))
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
            sql.Identifier(schema, table_name(TOPIC)), names
        )

        def work() -> None:
            for text in texts:
                with connection.cursor() as cursor, cursor.copy(statement) as into:
                    into.write(text)

        return _timed(work)


def _make(connection: psycopg.Connection, schema: str, batches: list[pa.Table]) -> None:
    """The table of the sink with its key, indexes and days."""
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    for statement in create_table(schema, LlmEvent):
        connection.execute(statement)
    days: set[date] = set()
    for batch in batches:
        days |= days_of(batch.column("time"))
    for day in sorted(days):
        make_day(connection, schema, TOPIC, day)


def _write_table(settings: Settings, batches: list[pa.Table]) -> tuple[float, float]:
    table, folder = pa.concat_tables(batches).combine_chunks(), Path(settings.lake_location)
    return _timed(lambda: pq.write_table(table, folder / "bare.parquet"))


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    begin, begin_cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begin, time.process_time() - begin_cpu


_WAYS = {"copy": _copy, "write_table": _write_table}

if __name__ == "__main__":
    main()
