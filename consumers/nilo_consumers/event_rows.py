"""Single events out of the stores with their origin: by offset, by id, by trace."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from psycopg.rows import dict_row

from nilo_consumers import postgres
from nilo_consumers.batch import OFFSET, ORIGIN, PARTITION
from nilo_consumers.events import Family
from nilo_consumers.lake import dataset, existing_table, translated
from nilo_consumers.tables import table_name
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.settings import Settings

_ROWS = 2000  # rows in memory at a time


@dataclass(frozen=True)
class Stretch:
    """Offsets `[first, stop)` of a partition, as far as their events are of `[since, until)`."""

    partition: int
    first: int
    stop: int
    since: datetime
    until: datetime


def stretch_postgres(
    settings: Settings, family: Family, wanted: Stretch
) -> Iterator[pa.RecordBatch]:
    """The events of a family at some offsets, with their origin; none without a table.

    Raises:
        StoreUnavailableError: PostgreSQL does not answer.
    """
    conditions = (
        "kafka_partition = %(partition)s AND kafka_offset >= %(first)s AND kafka_offset < %(stop)s"
        " AND time >= %(since)s AND time < %(until)s"
    )
    return _rows_postgres(settings, family, sql.SQL(conditions), vars(wanted))


def stretch_parquet(
    settings: Settings, family: Family, wanted: Stretch
) -> Iterator[pa.RecordBatch]:
    """As `stretch_postgres`, from the Delta table."""
    table = existing_table(settings, family.kafka_topic)
    if table is None:
        return
    asked = (pc.field(PARTITION) == wanted.partition) & (pc.field(OFFSET) >= wanted.first)
    asked &= (pc.field(OFFSET) < wanted.stop) & (pc.field("time") >= _time(wanted.since))
    asked &= pc.field("time") < _time(wanted.until)
    schema = _schema(family)
    with translated(f"reading {family.kafka_topic}"):
        found = dataset(table)
        names = [name for name in schema.names if name in found.schema.names]
        for batch in found.to_batches(columns=names, filter=asked, batch_size=_ROWS):
            if batch.num_rows:
                yield _as(batch, schema)


def related_postgres(
    settings: Settings,
    family: Family,
    *,
    ids: Collection[str],
    traces: Collection[str],
    since: datetime,
    until: datetime,
) -> Iterator[pa.RecordBatch]:
    """The events of `[since, until)` that have one of these ids or belong to one of these traces.

    Raises:
        StoreUnavailableError: PostgreSQL does not answer.
    """
    conditions = (
        "time >= %(since)s AND time < %(until)s"
        " AND (id = ANY(%(ids)s) OR trace_id = ANY(%(traces)s))"
    )
    values = {"ids": [*ids], "traces": [*traces], "since": since, "until": until}
    return _rows_postgres(settings, family, sql.SQL(conditions), values)


STRETCHES: Mapping[str, Callable[[Settings, Family, Stretch], Iterator[pa.RecordBatch]]] = {
    "postgres": stretch_postgres,
    "parquet": stretch_parquet,
}


def _rows_postgres(
    settings: Settings, family: Family, conditions: sql.SQL, values: Mapping[str, Any]
) -> Iterator[pa.RecordBatch]:
    name = sql.Identifier(settings.database_schema, table_name(family.kafka_topic))
    query = sql.SQL("SELECT * FROM {} WHERE {} ORDER BY {}").format(
        name, conditions, sql.SQL(", ").join(map(sql.Identifier, (PARTITION, OFFSET)))
    )
    schema = _schema(family)
    with postgres.translated("reading events"), _connection(settings) as connection:
        # In another zone the first and the last times that there are would be none of Python's.
        connection.execute("SET TIME ZONE 'UTC'")
        with connection.cursor("nilo_event_rows") as cursor:
            try:
                cursor.execute(query, values)
            except psycopg.errors.UndefinedTable:
                return
            while rows := cursor.fetchmany(_ROWS):
                yield pa.RecordBatch.from_pylist(rows, schema=schema)


def _schema(family: Family) -> pa.Schema:
    return pa.schema([*arrow_schema(family), *ORIGIN])


def _as(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The rows in a schema; an older table may lack columns, which are null then."""
    columns = [
        batch[field.name].cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, names=schema.names)


def _time(value: datetime) -> pa.Scalar:
    return pa.scalar(value, pa.timestamp("us", "UTC"))


def _connection(settings: Settings) -> psycopg.Connection[dict[str, Any]]:
    return psycopg.Connection[dict[str, Any]].connect(
        settings.database(), connect_timeout=postgres.CONNECT_LIMIT, row_factory=dict_row
    )
