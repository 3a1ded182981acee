"""What has to happen to a topic's table in PostgreSQL before rows of a new contract fit into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from psycopg import sql

from nilo_consumers.errors import StoreUnavailableError
from nilo_consumers.postgres import open_connection, translated
from nilo_consumers.tables import (
    LOOKED_UP,
    added,
    key_columns,
    sql_type,
    stored_schema,
    table_name,
    time_column,
)
from nilo_schemas.arrow import arrow_schema_of
from nilo_schemas.errors import SettingsError
from nilo_schemas.record import Record
from nilo_schemas.settings import Settings

SINK, YOU = "sink", "you"
_COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"""
_VIEWS = """
    SELECT DISTINCT attname, nspname, relname, relkind = 'm'
    FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid
    JOIN pg_class ON pg_class.oid = ev_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
    WHERE classid = 'pg_rewrite'::regclass AND refobjid = to_regclass(%s) ORDER BY 1, 2, 3"""
_LONG_NAMES = {"timestamp with time zone": "timestamptz"}
_NUMBERS = frozenset({"integer", "bigint", "double precision"})
# Of the types of our tables: what PostgreSQL casts, beside anything to and from text.
_CASTS = (
    {(one, other) for one in _NUMBERS for other in _NUMBERS}
    | {("boolean", "integer"), ("integer", "boolean"), ("jsonb", "boolean")}
    | {("jsonb", number) for number in _NUMBERS}
)


@dataclass(frozen=True)
class Column:
    """A column as it is: its type, whether it demands a value, and the views that read it."""

    kind: str
    required: bool
    views: tuple[tuple[str, str, bool], ...] = ()


@dataclass(frozen=True)
class Statement:
    """A statement, who runs it, and whether it writes the whole table anew under a lock.

    `by` is `sink` (at its next start) or `you` (before that).
    """

    sql: str
    by: str
    rewrites: bool = False


@dataclass(frozen=True)
class Plan:
    """What PostgreSQL needs.

    Args:
        compared: the table that the new contract was compared with, or what stood for it.
        statements: in the order in which they are to be run.
        impossible: what no statement does: columns and reasons.
    """

    compared: str
    statements: list[Statement] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def plan(settings: Settings, record: type[Record], reader: dict[str, Any], version: str) -> Plan:
    """Compare the table of a record, as it is, with the one that a new contract would have.

    Args:
        version: of the contract in force, which stands for the table where no database answers.
    """
    try:
        columns = _columns(settings, record)
        told = f"table {settings.database_schema}.{table_name(record.kafka_topic)}"
    except (SettingsError, StoreUnavailableError) as error:
        columns = contract_columns(record)
        told = f"{version}, as no table can be seen: {error}"
    if not columns:
        return Plan(f"{told} (not there yet: the sink makes it at its start)")
    found = Plan(told)
    steps = _Steps(settings.database_schema, record, reader, columns)
    found.statements.extend(steps.statements())
    found.impossible.extend(steps.impossible)
    return found


def contract_columns(record: type[Record]) -> dict[str, Column]:
    """The columns that the contract in force gives a table."""
    return {
        each.name: Column(sql_type(each.type), not each.nullable) for each in stored_schema(record)
    }


def _columns(settings: Settings, record: type[Record]) -> dict[str, Column]:
    name = sql.Identifier(settings.database_schema, table_name(record.kafka_topic)).as_string()
    with (
        translated("reading the table's columns"),
        open_connection(settings.database(), "nilo-rehearse") as connection,
    ):
        views: dict[str, list[Any]] = {}
        for column, *view in connection.execute(_VIEWS, [name]):
            views.setdefault(column, []).append(tuple(view))
        return {
            column: Column(str(_LONG_NAMES.get(kind, kind)), required, tuple(views.get(column, ())))
            for column, kind, required in connection.execute(_COLUMNS, [name])
        }


class _Steps:
    """From the columns of a table to those of a contract."""

    def __init__(
        self,
        schema: str,
        record: type[Record],
        reader: dict[str, Any],
        columns: Mapping[str, Column],
    ) -> None:
        self._table = sql.Identifier(schema, table_name(record.kafka_topic))
        self._columns, self._wanted = columns, stored_schema(record, arrow_schema_of(reader))
        self._docs = {each["name"]: each.get("doc") for each in reader["fields"]}
        self._time = time_column(record.kafka_topic)
        self._keys = {*key_columns(record), self._time}
        self.impossible: list[str] = []

    def statements(self) -> Iterator[Statement]:
        """What you run, then what the sink does; fills `impossible`."""
        names = self._wanted.names
        for name in dict.fromkeys(each for each in names if names.count(each) > 1):
            self._cannot(name, "the stores have a column of this name already")
        yield from self._for_you()
        for each in self._wanted:
            if each.name not in self._columns:
                for text in added(self._table, each, self._docs.get(each.name)):
                    yield Statement(text.as_string(), SINK)

    def _for_you(self) -> Iterator[Statement]:
        wanted = {each.name: each for each in self._wanted}
        views: dict[tuple[str, str, bool], None] = {}
        changes: list[Statement] = []
        for name, column in self._columns.items():
            target = wanted.get(name)
            if column.required and (target is None or target.nullable):
                changes += self._released(name)
            if target is not None and sql_type(target.type) != column.kind:
                changed = self._changed(name, column, sql_type(target.type))
                views |= dict.fromkeys(column.views if changed else ())
                changes += changed
        yield from (_dropped(*view) for view in views)
        yield from changes

    def _released(self, name: str) -> list[Statement]:
        if name in self._keys:
            self._cannot(name, "rows are told apart by it: it cannot be without a value")
            return []
        return [self._alter(name, sql.SQL("DROP NOT NULL"))]

    def _changed(self, name: str, column: Column, kind: Any) -> list[Statement]:
        if name in self._keys:
            self._cannot(name, f"rows are told apart by it: {column.kind} cannot become {kind}")
        elif name in LOOKED_UP:
            self._cannot(name, f"its index is one of texts: {column.kind} cannot become {kind}")
        elif not casts(column.kind, kind):
            self._cannot(name, f"PostgreSQL casts no {column.kind} to {kind}: take another name")
        else:
            action = sql.SQL("TYPE {} USING {}::{}").format(
                sql.SQL(kind), sql.Identifier(name), sql.SQL(kind)
            )
            return [self._alter(name, action, rewrites=True)]
        return []

    def _alter(self, name: str, action: sql.Composable, *, rewrites: bool = False) -> Statement:
        text = sql.SQL("ALTER TABLE {} ALTER COLUMN {} {}").format(
            self._table, sql.Identifier(name), action
        )
        return Statement(text.as_string(), YOU, rewrites)

    def _cannot(self, name: str, why: str) -> None:
        self.impossible.append(f"column {name}: {why}")


def casts(kind: str, other: str) -> bool:
    """Whether PostgreSQL casts one type of our tables to another, if need be when asked to."""
    return "text" in (kind, other) or (kind, other) in _CASTS


def _dropped(schema: str, name: str, materialized: bool) -> Statement:
    what = "DROP MATERIALIZED VIEW {}" if materialized else "DROP VIEW {}"
    return Statement(sql.SQL(what).format(sql.Identifier(schema, name)).as_string(), YOU)
