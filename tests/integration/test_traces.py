"""Recorded traces of many shapes, played into Kafka: each store holds what the files say.

A sample of every shape; NILO_TEST_TRACES=all takes every row of every file.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import duckdb
import psycopg
import pytest
from deltalake import DeltaTable

from nilo_consumers.lake import table_location
from nilo_consumers.tables import table_name
from nilo_producers import play
from nilo_schemas.settings import Settings
from tests.integration.programs import wait_for
from tests.integration.sinking import COUNT, sinking
from tests.integration.traces import DATA, TRACES, Columns, Trace

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not DATA.exists(), reason=f"no traces in {DATA}"),
]
ALL = os.environ.get("NILO_TEST_TRACES") == "all"
SAMPLE = 300  # rows
LIMIT = 3600.0 if ALL else 180.0  # seconds
STORES = "postgres", "parquet"


def test_real_traces_are_the_same_in_the_files_and_in_both_stores(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of the file and of the store, by all mapped columns at full precision: no difference."""
    files = [(trace, path) for trace in TRACES for path in sample(trace)]
    played = {path: play(settings, path, limit=None if ALL else SAMPLE) for _, path in files}
    topics = Counter[str]()
    for trace, path in files:
        topics[trace.topic] += played[path].delivered
    for store in STORES:
        with sinking(store, settings, topics=list(topics)):
            wait_for(f"all rows in {store}", lambda: landed(store, settings) == topics, LIMIT)  # noqa: B023  used at once

    for trace, path in files:
        rows, *differences = compared(settings, trace, path, tmp_path)
        if ALL:
            with capsys.disabled():
                print(f"{path.name}: {rows:,} rows, {differences} differ")
        assert rows == played[path].rows
        assert differences == [0, 0, 0, 0], (path, differences)


def sample(trace: Trace) -> list[Path]:
    """The trace's files; one of them will do for a sample."""
    return list(trace.paths()) if ALL else list(trace.paths())[:1]


def landed(store: str, settings: Settings) -> Counter[str]:
    topics = {trace.topic for trace in TRACES}
    return Counter({topic: COUNT[store](settings, topic) for topic in topics})


def compared(settings: Settings, trace: Trace, path: Path, folder: Path) -> list[int]:
    """How many rows the file has; and those that only it or only the store has, store by store."""
    duck = duckdb.connect()
    duck.execute("SET TimeZone = 'UTC'")
    limit = "" if ALL else f"LIMIT {SAMPLE}"
    wanted = ", ".join(
        _cast(each, name, trace.columns) for name, (each, _) in trace.columns.items()
    )
    duck.execute(
        f"CREATE TABLE file AS SELECT {wanted} FROM "
        f"(SELECT *, row_number() OVER () AS row FROM '{path}' {limit})"
    )
    numbers = [_count(duck, "file")]
    for read in (_from_postgres, _from_lake):
        read(duck, settings, trace, path.stem, folder)
        numbers += [_only(duck, "file", "store"), _only(duck, "store", "file")]
        duck.execute("DROP TABLE store")
    return numbers


def _only(duck: duckdb.DuckDBPyConnection, here: str, there: str) -> int:
    return _count(duck, f"(FROM {here} EXCEPT ALL FROM {there})")


def _count(duck: duckdb.DuckDBPyConnection, what: str) -> int:
    [(number,)] = duck.execute(f"SELECT count(*) FROM {what}").fetchall()
    return int(number)


def _from_lake(
    duck: duckdb.DuckDBPyConnection, settings: Settings, trace: Trace, stem: str, _: Path
) -> None:
    files = DeltaTable(table_location(settings, trace.topic)).file_uris()
    wanted = ", ".join(_cast(_in_lake(name), name, trace.columns) for name in trace.columns)
    duck.execute(
        f"CREATE TABLE store AS SELECT {wanted} FROM read_parquet(?) "
        f"WHERE {trace.rows.format(stem=stem)}",
        [files],
    )


def _from_postgres(
    duck: duckdb.DuckDBPyConnection, settings: Settings, trace: Trace, stem: str, folder: Path
) -> None:
    """By CSV: PostgreSQL writes the shortest text that is the same number."""
    wanted = ", ".join(f'{_in_postgres(name)} AS "{name}"' for name in trace.columns)
    table = f"{settings.database_schema}.{table_name(trace.topic)}"
    rows = f"SELECT {wanted} FROM {table} WHERE {trace.rows.format(stem=stem)}"
    out = folder / "rows.csv"
    statement = f"COPY ({rows}) TO STDOUT (FORMAT csv, HEADER)".encode()
    with (
        psycopg.connect(settings.database()) as connection,
        connection.cursor().copy(statement) as copy,
        out.open("wb") as file,
    ):
        file.writelines(copy)
    cast = ", ".join(_cast(f'"{name}"', name, trace.columns) for name in trace.columns)
    options = "all_varchar = true, header = true, allow_quoted_nulls = false, quote = '\"'"
    duck.execute(f"CREATE TABLE store AS SELECT {cast} FROM read_csv('{out}', {options})")


def _cast(text: str, name: str, columns: Columns) -> str:
    return f'CAST({text} AS {columns[name][1]}) AS "{name}"'


def _in_lake(name: str) -> str:
    column, _, key = name.partition(".")
    if key:
        return f"{column}['{key}']"
    return "epoch_us(time)" if name == "time" else column


def _in_postgres(name: str) -> str:
    column, _, key = name.partition(".")
    if key:
        return f"{column} ->> '{key}'"
    return "(extract(epoch FROM time) * 1000000)::bigint" if name == "time" else column
