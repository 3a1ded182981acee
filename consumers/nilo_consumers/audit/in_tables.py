"""What PostgreSQL and SQLite hold: the offsets of their rows, and how far their sinks have come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from nilo_consumers.audit.ledger import NOTHING, Held
from nilo_consumers.audit.spans import Spans, union
from nilo_consumers.batch import Span
from nilo_consumers.postgres import CONNECT_LIMIT, OFFSETS, PostgresSink, translated
from nilo_consumers.sqlite import SqliteSink
from nilo_consumers.sqlite_file import reading, tables
from nilo_consumers.sqlite_tables import quoted
from nilo_consumers.tables import ERASED_OFFSETS, table_name
from nilo_consumers.tiers.manifest import Manifest, expired
from nilo_schemas.settings import Settings

# Each row whose successor is not the next offset ends a stretch; of two alike one ends it.
_SQLITE_OFFSETS = "SELECT partition, next_offset FROM sink_offsets WHERE sink = ? AND topic = ?"
_ERASED: LiteralString = """
    SELECT partition, lower(span), upper(span) FROM {}, unnest(offsets) AS span WHERE topic = %s"""
_SQLITE_ERASED = (
    f"SELECT partition, first_offset, next_offset FROM {ERASED_OFFSETS} WHERE topic = ?"  # noqa: S608  the name is ours
)
STRETCHES: LiteralString = """
    SELECT kafka_partition, kafka_offset, following FROM (
        SELECT kafka_partition, kafka_offset, lead(kafka_offset) OVER places AS following,
               lag(kafka_offset) OVER places AS before
        FROM {table} WINDOW places AS (PARTITION BY kafka_partition ORDER BY kafka_offset)
    ) AS placed
    WHERE before IS NULL OR following IS NULL OR following <> kafka_offset + 1
    ORDER BY kafka_partition, kafka_offset"""


class InPostgres:
    """The tables of PostgreSQL, as one moment shows them."""

    name = PostgresSink.name

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def held(self, topic: str, partitions: Iterable[int]) -> dict[int, Held]:
        """What the store has of each partition of a topic (without prefix).

        Raises:
            StoreError: PostgreSQL does not answer or refuses.
        """
        with translated("reading for the audit"), self._connect() as connection:
            # Rows and offsets of the same moment, while the sink goes on.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            if not self._exists(connection, table_name(topic)):
                return dict.fromkeys(partitions, NOTHING)
            offsets = self._offsets(connection, topic)
            rows = self._stretches(connection, topic)
        return {p: Held(offsets.get(p), rows.get(p, [])) for p in partitions}

    def expired(self, topic: str) -> Mapping[int, Spans]:
        """The offsets of a topic that `nilo tiers run` has dropped, by partition."""
        return expired(Manifest(self._settings).entries(topic), "hot")

    def erased(self, topic: str) -> Mapping[int, Spans]:
        """The offsets of a topic that `nilo erase` has deleted, by partition."""
        query = sql.SQL(_ERASED).format(self._table(ERASED_OFFSETS))
        with translated("reading for the audit"), self._connect() as connection:
            if not self._exists(connection, ERASED_OFFSETS):
                return {}
            return union_by_partition(connection.execute(query, [topic]))

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self._settings.database(), connect_timeout=CONNECT_LIMIT, application_name="nilo-audit"
        )

    def _table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._settings.database_schema, name)

    def _exists(self, connection: psycopg.Connection[Any], name: str) -> bool:
        asked = connection.execute(
            "SELECT to_regclass(%s) IS NOT NULL", [self._table(name).as_string(connection)]
        ).fetchone()
        return bool(asked and asked[0])

    def _offsets(self, connection: psycopg.Connection[Any], topic: str) -> dict[int, int]:
        query = sql.SQL("SELECT partition, next_offset FROM {} WHERE sink = %s AND topic = %s")
        rows = connection.execute(
            query.format(self._table(OFFSETS)), [self.name, self._settings.topic_prefix + topic]
        )
        return dict(rows.fetchall())

    def _stretches(self, connection: psycopg.Connection[Any], topic: str) -> dict[int, list[Span]]:
        query = sql.SQL(STRETCHES).format(table=self._table(table_name(topic)))
        with connection.cursor("audit") as cursor:  # on the server: rows come some at a time
            cursor.itersize = 10_000
            return spans_by_partition(cursor.execute(query))


class InSqlite:
    """The tables of the SQLite file, as one moment shows them."""

    name = SqliteSink.name

    def __init__(self, settings: Settings) -> None:
        self._path, self._prefix = settings.sqlite_location, settings.topic_prefix

    def held(self, topic: str, partitions: Iterable[int]) -> dict[int, Held]:
        """As `InPostgres.held`."""
        name = table_name(topic)
        with reading(self._path) as connection:
            if connection is None or name not in tables(connection):
                return dict.fromkeys(partitions, NOTHING)
            connection.execute("BEGIN")  # rows and offsets of the same moment
            offsets = dict(
                map(tuple, connection.execute(_SQLITE_OFFSETS, [self.name, self._prefix + topic]))
            )
            rows = spans_by_partition(connection.execute(STRETCHES.format(table=quoted(name))))
        return {p: Held(offsets.get(p), rows.get(p, [])) for p in partitions}

    def expired(self, topic: str) -> Mapping[int, Spans]:
        """None: nothing leaves the file for its age."""
        return {}

    def erased(self, topic: str) -> Mapping[int, Spans]:
        """As `InPostgres.erased`."""
        with reading(self._path) as connection:
            if connection is None or ERASED_OFFSETS not in tables(connection):
                return {}
            return union_by_partition(connection.execute(_SQLITE_ERASED, [topic]))


def union_by_partition(stretches: Iterable[Any]) -> dict[int, Spans]:
    """Rows of partition, first and next offset, which may overlap, by partition."""
    found: dict[int, list[Span]] = {}
    for partition, first, beyond in stretches:
        found.setdefault(partition, []).append(Span(first, beyond))
    return {partition: union(spans) for partition, spans in found.items()}


def spans_by_partition(places: Iterable[Any]) -> dict[int, list[Span]]:
    """What STRETCHES finds, by partition."""
    return {
        partition: list(_spans((offset, following) for _, offset, following in some))
        for partition, some in groupby(places, key=itemgetter(0))
    }


def _spans(ends: Iterable[tuple[int, int | None]]) -> Iterator[Span]:
    """Stretches of the first offset and of those that are not followed by the next one."""
    start: int | None = None
    for offset, following in ends:
        start = offset if start is None else start
        if following != offset + 1:
            yield Span(start, offset + 1)
            start = following
