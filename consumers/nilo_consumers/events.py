"""Read events back from each store, as they were sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from psycopg.rows import dict_row

from nilo_consumers import postgres
from nilo_consumers.lake import dataset, existing_table, text_field, translated
from nilo_consumers.read_sqlite import plain, stored_time
from nilo_consumers.sqlite_file import reading, tables
from nilo_consumers.sqlite_tables import json_columns, quoted
from nilo_consumers.tables import table_name
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.envelope import Event
from nilo_schemas.settings import Settings

Values = dict[str, Any]
Family = type[Event]
_ROWS = 2000  # rows in memory at a time


@dataclass(frozen=True)
class Selection:
    """Which events are wanted: those in each list that is not empty, of `[since, until)`."""

    sessions: Sequence[str] = ()
    subjects: Sequence[str] = ()
    types: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None

    def lists(self) -> dict[str, list[str]]:
        """The values wanted of each column; columns of which any will do are left out."""
        wanted = {"session_id": self.sessions, "subject": self.subjects, "type": self.types}
        return {column: list(values) for column, values in wanted.items() if values}

    def times(self) -> dict[LiteralString, datetime]:
        """The bounds of `time` that are set, by the operator that keeps what is wanted."""
        bounds: dict[LiteralString, datetime | None] = {">=": self.since, "<": self.until}
        return {operator: time for operator, time in bounds.items() if time is not None}

    def expression(self) -> pc.Expression:
        """The same for rows in Arrow."""
        wanted = pc.scalar(True)
        for column, values in self.lists().items():
            wanted &= text_field(column).isin(values)
        for operator, time in self.times().items():
            bound, column = pa.scalar(time, pa.timestamp("us", "UTC")), pc.field("time")
            wanted &= column >= bound if operator == ">=" else column < bound
        return wanted


def events_postgres(settings: Settings, family: Family, wanted: Selection) -> Iterator[Values]:
    """The values of a family's events as Avro carries them, in no order; none without a table.

    Raises:
        StoreUnavailableError: PostgreSQL does not answer.
    """
    lists, times = wanted.lists(), wanted.times()
    conditions = [sql.SQL("{} = ANY(%s)").format(sql.Identifier(column)) for column in lists]
    conditions += [sql.SQL("time {} %s").format(sql.SQL(operator)) for operator in times]
    name = table_name(family.kafka_topic)
    query = sql.SQL("SELECT * FROM {} WHERE {}").format(
        sql.Identifier(settings.database_schema, name),
        sql.SQL(" AND ").join([sql.SQL("true"), *conditions]),
    )
    with postgres.translated("reading events"), _connection(settings) as connection:
        # In another zone the first and the last times that there are would be none of Python's.
        connection.execute("SET TIME ZONE 'UTC'")
        with connection.cursor("nilo_events") as cursor:
            cursor.itersize = _ROWS
            try:
                cursor.execute(query, [*lists.values(), *times.values()])
            except psycopg.errors.UndefinedTable:
                return
            names = arrow_schema(family).names
            for row in cursor:
                yield _known(row, names)


def events_parquet(settings: Settings, family: Family, wanted: Selection) -> Iterator[Values]:
    """As `events_postgres`, from the Delta table."""
    table = existing_table(settings, family.kafka_topic)
    if table is None:
        return
    with translated(f"reading {family.kafka_topic}"):
        found = dataset(table)
        names = [name for name in arrow_schema(family).names if name in found.schema.names]
        for batch in found.to_batches(
            columns=names, filter=wanted.expression(), batch_size=_ROWS, batch_readahead=2
        ):
            yield from rows_of(batch)


def events_sqlite(settings: Settings, family: Family, wanted: Selection) -> Iterator[Values]:
    """As `events_postgres`, from the SQLite file; raises as `count_sqlite` does."""
    lists, times = wanted.lists(), wanted.times()
    conditions = [f"{quoted(column)} IN ({_places(values)})" for column, values in lists.items()]
    conditions += [f"time {operator} ?" for operator in times]
    table = table_name(family.kafka_topic)
    query = f"SELECT * FROM {quoted(table)} WHERE {' AND '.join(['true', *conditions])}"  # noqa: S608  names are quoted, values are parameters
    values = [value for each in lists.values() for value in each]
    with reading(settings.sqlite_location) as connection:
        if connection is None or table not in tables(connection):
            return
        rows = connection.execute(query, [*values, *map(stored_time, times.values())])
        with closing(rows):
            yield from _from_sqlite(rows, family)


def _from_sqlite(rows: Iterable[sqlite3.Row], family: Family) -> Iterator[Values]:
    schema, nested = arrow_schema(family), json_columns(family)
    timed = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    for row in rows:
        values = _known(plain(row, nested), schema.names)
        for name in timed:
            if values.get(name) is not None:
                values[name] = datetime.fromisoformat(values[name])
        yield values


STORES: Mapping[str, Callable[[Settings, Family, Selection], Iterator[Values]]] = {
    "postgres": events_postgres,
    "parquet": events_parquet,
    "sqlite": events_sqlite,
}


def rows_of(rows: pa.RecordBatch | pa.Table) -> list[Values]:
    """The values of Arrow rows, maps as dicts."""
    # Of a key that a foreign writer gave twice the last counts, as where events are decoded singly.
    values: list[Values] = rows.to_pylist(maps_as_pydicts="lossy")
    return values


def _known(row: Mapping[str, Any], names: Sequence[str]) -> Values:
    """The columns that the family has; an older table may lack some, which have defaults then."""
    return {name: row[name] for name in names if name in row}


def _places(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _connection(settings: Settings) -> psycopg.Connection[dict[str, Any]]:
    return psycopg.Connection[dict[str, Any]].connect(
        settings.database(), connect_timeout=postgres.CONNECT_LIMIT, row_factory=dict_row
    )
