"""Names and shapes of our tables, the same in every store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import pyarrow as pa
from psycopg import sql

from nilo_consumers.batch import OFFSET, ORIGIN, PARTITION, STAMP
from nilo_consumers.errors import StoreRefusedError
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.contracts import contract
from nilo_schemas.envelope import Event
from nilo_schemas.record import Record
from nilo_schemas.results import MetricWindow

STORED_AT = "stored_at"
# Columns by which single rows are looked up, as far as a record has them.
LOOKED_UP = ("id", "session_id", "subject", "fingerprint")
# In PostgreSQL and in SQLite: what `nilo erase` has deleted.
ERASED_OFFSETS = "erased_offsets"
WINDOWS = MetricWindow.kafka_topic
_NAME_LIMIT = 63 - len("_20260131")
_SERIES = ("metric", "window", "window_start", "dimensions")


def table_name(topic: str) -> str:
    """The table of a topic (without prefix): `events.llm` lies in `events_llm`."""
    return topic.replace(".", "_").replace("-", "_")


def time_column(topic: str) -> str:
    """The column that says when a row's event happened or its window began."""
    return "window_start" if topic == WINDOWS else "time"


def stored_schema(record: type[Record], columns: pa.Schema | None = None) -> pa.Schema:
    """The columns of a record's table: the contract's, then the origin.

    Events also have the time of their Kafka record. Windows also have `stored_at`: it tells what
    was known when.

    Args:
        columns: those of another contract than the record's own.
    """
    fields = [*(columns or arrow_schema(record)), *ORIGIN]
    if issubclass(record, Event):
        fields.append(STAMP)
    if record is MetricWindow:
        fields.append(pa.field(STORED_AT, pa.timestamp("us", "UTC"), False))
    return pa.schema(fields)


def key_columns(record: type[Record]) -> tuple[str, ...]:
    """The columns by which a record's rows differ: the origin, or a window and its revision."""
    return (*_SERIES, "revision") if record is MetricWindow else (PARTITION, OFFSET)


def sql_type(kind: pa.DataType) -> LiteralString:
    """The PostgreSQL type of an Arrow type; raises TypeError when there is none."""
    if pa.types.is_nested(kind):
        return "jsonb"
    names: dict[pa.DataType, LiteralString] = {
        pa.string(): "text",
        pa.bool_(): "boolean",
        pa.int32(): "integer",
        pa.int64(): "bigint",
        pa.float64(): "double precision",
        pa.timestamp("us", "UTC"): "timestamptz",
    }
    if kind not in names:
        raise TypeError(f"{kind} has no PostgreSQL type in our tables")
    return names[kind]


def default_partition(topic: str) -> str:
    """The partition of a topic's table for rows of days that have none of their own."""
    return f"{table_name(topic)}_default"


def create_table(schema: str, record: type[Record]) -> Iterator[sql.Composed]:
    """The statements that make a record's table with its DEFAULT partition, indexes and comments.

    Raises:
        StoreRefusedError: the name is too long for PostgreSQL.
    """
    topic = record.kafka_topic
    if len(table_name(topic)) > _NAME_LIMIT:
        raise StoreRefusedError(
            f"topic {topic}: its table's name has more than the {_NAME_LIMIT} letters for which "
            f"PostgreSQL has room beside the day; choose a shorter topic"
        )
    table = sql.Identifier(schema, table_name(topic))
    time = sql.Identifier(time_column(topic))
    columns = sql.SQL(", ").join(_column(field) for field in stored_schema(record))
    yield sql.SQL("CREATE TABLE {} ({}, {}) PARTITION BY RANGE ({})").format(
        table, columns, _key(record), time
    )
    yield sql.SQL("CREATE TABLE {} PARTITION OF {} DEFAULT").format(
        sql.Identifier(schema, default_partition(topic)), table
    )
    yield sql.SQL("CREATE INDEX ON {} USING brin ({})").format(table, time)
    if looked_up := [name for name in LOOKED_UP if name in record.model_fields]:
        # Next to nothing at COPY, of which three B-trees take more than half; see benchmarks.md.
        blooms = [sql.SQL("{} text_bloom_ops").format(sql.Identifier(name)) for name in looked_up]
        yield sql.SQL("CREATE INDEX ON {} USING brin ({}) WITH (pages_per_range = 32)").format(
            table, sql.SQL(", ").join(blooms)
        )
    yield sql.SQL("COMMENT ON TABLE {} IS {}").format(table, contract(record)["doc"])
    for field in contract(record)["fields"]:
        if "doc" in field:
            yield _comment(table, field["name"], field["doc"])


def add_column(schema: str, record: type[Record], column: str) -> Iterator[sql.Composed]:
    """The statements that add a column which a newer contract has."""
    docs = {field["name"]: field.get("doc") for field in contract(record)["fields"]}
    field = stored_schema(record).field(column)
    yield from added(
        sql.Identifier(schema, table_name(record.kafka_topic)), field, docs.get(column)
    )


def added(table: sql.Identifier, field: pa.Field, doc: str | None) -> Iterator[sql.Composed]:
    """The statements that add a column to a table."""
    # Rows written before have no value, so the column can never demand one.
    yield sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {}").format(
        table, _column(field.with_nullable(True))
    )
    if doc is not None:
        yield _comment(table, field.name, doc)


def _column(field: pa.Field) -> sql.Composed:
    kind = sql.SQL(sql_type(field.type) + ("" if field.nullable else " NOT NULL"))
    return sql.SQL("{} {}").format(sql.Identifier(field.name), kind)


def _key(record: type[Record]) -> sql.Composed:
    # The key of a partitioned table must hold what it is partitioned by.
    names = dict.fromkeys((*key_columns(record), time_column(record.kafka_topic)))
    return sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(map(sql.Identifier, names)))


def _comment(table: sql.Identifier, column: str, doc: str) -> sql.Composed:
    name = sql.Identifier(column)
    return sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(table, name, doc)
