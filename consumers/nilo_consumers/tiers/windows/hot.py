"""Windows in PostgreSQL: what there is, and taking away what is past its days."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from typing import LiteralString

import psycopg
from psycopg import sql

from nilo_consumers.postgres import PostgresSink, open_connection, translated
from nilo_consumers.postgres_days import Partition, partitions, start, topics_of
from nilo_consumers.postgres_retention import Expired, drop_expired
from nilo_consumers.tables import WINDOWS, table_name
from nilo_consumers.tiers.windows.plan import Group, Question, Removal
from nilo_consumers.tiers.windows.statements import GROUPS, UNCOVERED, gathered
from nilo_schemas.settings import Settings

_DAY = timedelta(days=1)
# A transaction takes so much of a day away: the rows of a long one could not be vacuumed meanwhile.
_PIECE = timedelta(hours=6)
_LOCK_LIMIT = "2s"
_DELETE: LiteralString = """
    DELETE FROM {table} USING unnest(%s::integer[], %s::bigint[]) AS ended(partition, next_offset)
    WHERE window_start >= %s AND window_start < %s AND "window" = %s AND metric = ANY(%s)
    AND kafka_partition = ended.partition AND kafka_offset < ended.next_offset"""


class HotWindows:
    """The table `metrics_windows`; all methods raise StoreError."""

    name = PostgresSink.name

    def __init__(self, settings: Settings) -> None:
        self._settings, self._schema = settings, settings.database_schema
        self._table = sql.Identifier(self._schema, table_name(WINDOWS))

    def groups(self, before: date | None = None) -> list[Group]:
        """All windows that begin before a day (None: all)."""
        within = sql.SQL("true") if before is None else _between(None, before)
        day = sql.SQL("(window_start AT TIME ZONE 'UTC')::date")
        query = sql.SQL(GROUPS).format(day=day, table=self._table, within=within)
        with self._connected("reading windows") as connection:
            if WINDOWS not in topics_of(connection, self._schema):
                return []
            return gathered(connection.execute(query))

    def covered(self, asked: Question) -> set[str]:
        """The metrics whose windows all begin in a longer one; see `Question`."""
        query = sql.SQL(UNCOVERED).format(
            hop=sql.Literal(f"{asked.longer.hop.total_seconds():.0f} seconds"),
            table=self._table,
            within=_between(asked.day, asked.day + _DAY),
            window=sql.Literal(asked.window),
            metrics=sql.SQL(", ").join(map(sql.Literal, asked.metrics)),
            reach=_between(asked.first_day, asked.day + _DAY),
            longer=sql.Literal(asked.longer.text),
        )
        with self._connected("comparing windows") as connection:
            uncovered = {metric for (metric,) in connection.execute(query)}
        return set(asked.metrics) - uncovered

    def partition_days(self, before: date) -> list[date]:
        """The days before this one that have a partition."""
        with self._connected("reading windows") as connection:
            if WINDOWS not in topics_of(connection, self._schema):
                return []
            found = partitions(connection, self._schema, WINDOWS)
        return [each.day for each in found if each.day and each.day < before]

    def remove(self, day: date, removals: Sequence[Removal], *, whole: bool) -> None:
        """Take windows of a day away; `whole`: they are all that its partition has.

        Raises:
            StoreMovedError: others came into a whole day meanwhile; it stays.
        """
        with self._connected("taking windows away") as connection:
            own = self._partition(connection, day)
            if not whole or own is None:
                for each in removals:
                    self._delete(connection, each)
                self._give_back(connection, own)
        if whole and own is not None:
            rows = sum(each.rows for each in removals)
            list(drop_expired(self._settings, [Expired(own, start(day + _DAY), rows, 0)]))

    def _delete(self, connection: psycopg.Connection, removal: Removal) -> None:
        statement = sql.SQL(_DELETE).format(table=self._table)
        partitions, ends = list(removal.ends), list(removal.ends.values())
        for begin, end in _pieces(removal.day):
            connection.execute(
                statement, [partitions, ends, begin, end, removal.window, [*removal.metrics]]
            )

    def _give_back(self, connection: psycopg.Connection, own: Partition | None) -> None:
        """Give the disk its room back: what is left of an old day is little, and nobody writes.

        Of DEFAULT, which others write to, autovacuum has the room used anew.
        """
        if own is None:
            return
        connection.execute("SELECT set_config('lock_timeout', %s, false)", [_LOCK_LIMIT])
        name = sql.Identifier(self._schema, own.name)
        # Somebody reads the day: autovacuum remains.
        with suppress(psycopg.errors.LockNotAvailable):
            connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(name))

    def _partition(self, connection: psycopg.Connection, day: date) -> Partition | None:
        found = partitions(connection, self._schema, WINDOWS)
        return next((each for each in found if each.day == day), None)

    @contextmanager
    def _connected(self, doing: str) -> Iterator[psycopg.Connection]:
        with (
            translated(doing),
            open_connection(self._settings.database(), "nilo-tiers") as connection,
        ):
            yield connection


def _between(first: date | None, before: date) -> sql.Composed:
    until = sql.SQL("window_start < {}").format(sql.Literal(start(before).isoformat()))
    if first is None:
        return until
    since = sql.Literal(start(first).isoformat())
    return sql.SQL("window_start >= {} AND {}").format(since, until)


def _pieces(day: date) -> Iterator[tuple[datetime, datetime]]:
    begin = start(day)
    while begin < start(day) + _DAY:
        yield begin, begin + _PIECE
        begin += _PIECE
