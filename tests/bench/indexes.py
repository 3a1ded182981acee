"""What each index of the events' tables costs COPY, and what it saves a look-up.

    python -m tests.bench.indexes --events 400000

Needs a PostgreSQL on this machine (`nilo up`): what counts is the CPU time of the server's
process, which other programs' work does not change. The schema of its own is dropped at the end.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, LiteralString

import psutil
import psycopg
import pyarrow as pa
from psycopg import sql

from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.csv_text import csv_text
from nilo_consumers.tables import create_table
from nilo_producers import simulate
from nilo_schemas.batch import BatchDecoder
from nilo_schemas.codec import encode
from nilo_schemas.contracts import contract
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import load_settings

SCHEMA = "nilo_bench_indexes"
_SCHEMA = sql.Identifier(SCHEMA)
TABLE = sql.Identifier(SCHEMA, "events_llm")
ROUNDS, BATCH, RATE = 3, 50_000, 2_000
COLUMNS = ("id", "session_id", "subject")
# Sessions at a time; each ends after twenty events or so.
LIVE, LENGTH = 200, 20
OURS = "as shipped"
BARE = "key and time"
BTREES: dict[str, tuple[LiteralString, ...]] = {
    BARE: (),
    OURS: (),
    "B-tree on id": ("id",),
    "B-tree on session_id": ("session_id",),
    "B-tree on subject": ("subject",),
    "B-tree on each of the three": ("id", "session_id", "subject"),
}


def main() -> None:
    """Measure, and print figures."""
    parser = argparse.ArgumentParser(description="measure the indexes of the events' tables")
    parser.add_argument("--events", type=int, default=400_000, help="default: 400000")
    options = parser.parse_args()
    with psycopg.connect(load_settings().database(), autocommit=True) as connection:
        try:
            print(json.dumps(measure(connection, options.events), indent=1))
        finally:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(_SCHEMA))


def measure(connection: psycopg.Connection, count: int) -> dict[str, Any]:
    """Rows per CPU second of the server for each set of indexes, and look-ups in milliseconds."""
    batches = texts(count)
    rates: dict[str, list[float]] = {name: [] for name in BTREES}
    looked_up: dict[str, dict[str, float]] = {}
    for _ in range(ROUNDS):
        for name, columns in BTREES.items():
            _make(connection, name, columns)
            begin = _cpu(connection)
            for text in batches:
                _copy(connection, text)
            rates[name].append(count / (_cpu(connection) - begin))
            looked_up[name] = look_ups(connection)
    per_second = {name: round(statistics.median(taken)) for name, taken in rates.items()}
    ratios = [
        {"name": f"{name} over {BARE}", "value": round(rate / per_second[BARE], 2)}
        for name, rate in per_second.items()
    ]
    version = connection.info.server_version
    return {
        "bench": "indexes",
        "ratios": ratios,
        "figures": {"copy_rows_per_cpu_second": per_second, "look_up_ms": looked_up},
        "versions": {"python": platform.python_version(), "postgresql": version},
    }


def texts(count: int) -> list[bytes]:
    """The CSV of simulated calls in batches, each sorted by partition as fetches bring them."""
    schema = contract(LlmEvent)
    fleet = simulate(1, RATE, 2 * count / RATE, datetime(2026, 1, 1, tzinfo=UTC))
    values = [encode(event, 1) for event in islice(fleet, count)]
    rows = BatchDecoder(LlmEvent, lambda _: schema).decode(values).rows
    table = pa.Table.from_batches([rows])
    places = range(table.num_rows)
    table = table.set_column(
        table.schema.get_field_index("session_id"), "session_id", sessions(count)
    )
    table = table.append_column(PARTITION, pa.array([n % 4 for n in places], pa.int32()))
    table = table.append_column(OFFSET, pa.array([n // 4 for n in places], pa.int64()))
    return [
        csv_text(table.slice(begin, BATCH).sort_by(PARTITION)).to_pybytes()
        for begin in range(0, count, BATCH)
    ]


def sessions(count: int) -> pa.Array:
    """Session ids without any order, as those of web frameworks: many at a time, each soon over."""
    chance = random.Random(1)
    live = [chance.randbytes(16).hex() for _ in range(LIVE)]
    found = []
    for _ in range(count):
        place = chance.randrange(LIVE)
        if chance.random() < 1 / LENGTH:
            live[place] = chance.randbytes(16).hex()
        found.append(live[place])
    return pa.array(found)


def look_ups(connection: psycopg.Connection) -> dict[str, float]:
    """Milliseconds of a look-up by each column, after a vacuum; the planner chooses the way."""
    connection.execute(sql.SQL("VACUUM ANALYZE {}").format(TABLE))
    names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    one = sql.SQL("SELECT {} FROM {} WHERE kafka_partition = 1 AND kafka_offset = 777")
    values = connection.execute(one.format(names, TABLE)).fetchone() or ()
    return {
        name: _explained(connection, name, value)
        for name, value in zip(COLUMNS, values, strict=True)
        if value is not None
    }


def _explained(connection: psycopg.Connection, column: str, value: str) -> float:
    query = sql.SQL("EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM {} WHERE {} = {}").format(
        TABLE, sql.Identifier(column), value
    )
    times = []
    for _ in range(ROUNDS):
        [[plan]] = connection.execute(query).fetchall()
        times.append(float(plan[0]["Execution Time"]))
    return statistics.median(times)


def _make(connection: psycopg.Connection, name: str, columns: Sequence[LiteralString]) -> None:
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(_SCHEMA))
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(_SCHEMA))
    for statement in create_table(SCHEMA, LlmEvent):
        # What is measured against what we ship is the table without the index of the look-ups.
        if name == OURS or "text_bloom_ops" not in statement.as_string(connection):
            connection.execute(statement)
    for column in columns:
        connection.execute(sql.SQL("CREATE INDEX ON {} ({})").format(TABLE, sql.Identifier(column)))


def _copy(connection: psycopg.Connection, text: bytes) -> None:
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT csv)").format(TABLE)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(text)


def _cpu(connection: psycopg.Connection) -> float:
    times = psutil.Process(connection.info.backend_pid).cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    main()
