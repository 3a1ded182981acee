"""Our tables in SQLite: the names and columns that they have in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from nilo_consumers.json_text import json_text
from nilo_consumers.tables import key_columns, stored_schema, table_name, time_column
from nilo_schemas.contracts import contract
from nilo_schemas.record import Record
from nilo_schemas.results import MetricWindow

_TYPES = {
    pa.string(): "TEXT",
    pa.bool_(): "INTEGER",
    pa.int32(): "INTEGER",
    pa.int64(): "INTEGER",
    pa.float64(): "REAL",
    pa.timestamp("us", "UTC"): "TEXT",
}


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def sqlite_type(kind: pa.DataType) -> str:
    """The SQLite type of an Arrow type; raises TypeError when there is none.

    Times are text such as `2026-01-02 03:04:05.678901Z`: people can read it, it sorts by time, and
    SQLite's own `datetime('now')` compares with it.
    """
    if pa.types.is_nested(kind):
        return "TEXT"
    if kind not in _TYPES:
        raise TypeError(f"{kind} has no SQLite type in our tables")
    return _TYPES[kind]


def create_table(record: type[Record]) -> Iterator[str]:
    """The statements that make a record's table and its index; `.schema` shows what is what."""
    topic = record.kafka_topic
    table, about = table_name(topic), contract(record)
    docs = {field["name"]: field.get("doc", "") for field in about["fields"]}
    columns = [
        f"  {_column(field)},{_note(docs.get(field.name))}" for field in stored_schema(record)
    ]
    key = ", ".join(map(quoted, key_columns(record)))
    lines = "\n".join([*columns, f"  PRIMARY KEY ({key})"])
    yield f"CREATE TABLE {quoted(table)} ({_note(about['doc'])}\n{lines}\n) STRICT"
    index, column = quoted(f"{table}_time"), quoted(time_column(topic))
    yield f"CREATE INDEX {index} ON {quoted(table)} ({column})"


def add_column(record: type[Record], column: str) -> str:
    """The statement that adds a column which a newer contract has."""
    # Rows written before have no value, so the column can never demand one.
    field = stored_schema(record).field(column).with_nullable(True)
    return f"ALTER TABLE {quoted(table_name(record.kafka_topic))} ADD COLUMN {_column(field)}"


def _column(field: pa.Field) -> str:
    demanded = "" if field.nullable else " NOT NULL"
    return f"{quoted(field.name)} {sqlite_type(field.type)}{demanded}"


def _note(text: str | None) -> str:
    return f" -- {' '.join(text.split())}" if text else ""


def insert(record: type[Record], names: Iterable[str]) -> str:
    """The statement that inserts rows with these columns.

    Windows come again after a restart of the processors: the same revision is passed over. An
    event whose key is there is an error: two installations share the file.
    """
    columns = list(map(quoted, names))
    table, places = quoted(table_name(record.kafka_topic)), ", ".join("?" * len(columns))
    # Not OR IGNORE: that would also pass over a missing value.
    again = "ON CONFLICT DO NOTHING" if record is MetricWindow else ""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places}) {again}"  # noqa: S608  the names are quoted


def json_columns(record: type[Record]) -> frozenset[str]:
    """The columns that hold JSON text."""
    return frozenset(each.name for each in stored_schema(record) if pa.types.is_nested(each.type))


def columns_of(rows: pa.Table, record: type[Record]) -> dict[str, list[object]]:
    """The columns as SQLite takes them; without those that hold nothing, which cost time."""
    key = key_columns(record)
    return {
        name: _values(column.combine_chunks(), in_key=name in key)
        for name, column in zip(rows.column_names, rows.columns, strict=True)
        if column.null_count < len(column)
    }


def _values(column: pa.Array, *, in_key: bool) -> list[object]:
    kind = column.type
    if pa.types.is_nested(kind):
        text = json_text(column)
        column = _sorted_keys(text) if in_key else text
    elif pa.types.is_timestamp(kind):
        # By way of local time: with a zone, Arrow takes thirty times as long to the same text.
        column = pc.binary_join_element_wise(_naive(column).cast(pa.string()), "Z", "")
    values: list[object] = column.to_pylist()
    return values


def _naive(column: pa.Array) -> pa.Array:
    return column.cast(pa.timestamp("us"))


def _sorted_keys(texts: pa.Array) -> pa.Array:
    """JSON objects with their keys in order, so that equal ones are equal text; few differ."""
    distinct = texts.dictionary_encode()
    known = [json.loads(text) for text in distinct.dictionary.to_pylist()]
    ordered = [
        json.dumps(each, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        for each in known
    ]
    return pa.array(ordered, pa.string()).take(distinct.indices)
