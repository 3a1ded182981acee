"""Day partitions: which there are, and making those that are missing.

A table has one partition per UTC day that is hot, made when its first row comes or some days
ahead, and a DEFAULT partition for every other time: so no row is refused for its time, and no
time that a row may have makes a partition beyond the hot days.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import LiteralString

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from nilo_consumers.postgres_migrations import lock
from nilo_consumers.tables import default_partition, table_name, time_column
from nilo_consumers.tiers.policy import days_in_tier
from nilo_schemas.contracts import stored_records
from nilo_schemas.settings import Settings

DAYS_AHEAD = 3
_LOCK_LIMIT = "2s"  # so long may the rows of other writers to DEFAULT wait for us
# The table is locked or not ours: its rows go to DEFAULT, the maintenance tries again.
_PUT_OFF = (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege)
_PARTITIONS: LiteralString = """
    SELECT relname, substring(bound FROM 'FROM \\(''([^'']+)')::timestamptz AS begin
    FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid,
         pg_get_expr(relpartbound, child.oid) AS bound
    WHERE inhparent = %s::regclass
    ORDER BY begin"""
_STRAYS: LiteralString = """
    SELECT DISTINCT ({time} AT TIME ZONE 'UTC')::date FROM {rest}
    WHERE {time} >= {begin} AND {time} < {end}"""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Partition:
    """A partition of a topic's table; `day` is None for DEFAULT."""

    topic: str
    name: str
    day: date | None


def topics_of(connection: psycopg.Connection, schema: str) -> list[str]:
    """The known topics, without prefix, that have a table."""
    names = (
        "SELECT relname FROM pg_class WHERE relkind = 'p' AND relnamespace = to_regnamespace(%s)"
    )
    there = {name for (name,) in connection.execute(names, [_quoted(connection, schema)])}
    return [topic for topic in stored_records() if table_name(topic) in there]


def partitions(connection: psycopg.Connection, schema: str, topic: str) -> list[Partition]:
    """The partitions of a topic's table, oldest first and DEFAULT last."""
    table = _quoted(connection, schema, table_name(topic))
    return [
        Partition(topic, name, None if begin is None else begin.astimezone(UTC).date())
        for name, begin in connection.execute(_PARTITIONS, [table])
    ]


def days_made(connection: psycopg.Connection, schema: str, topic: str) -> set[date]:
    """The days that have a partition."""
    found = partitions(connection, schema, topic)
    return {each.day for each in found if each.day is not None}


def _quoted(connection: psycopg.Connection, *names: str) -> str:
    return sql.Identifier(*names).as_string(connection)


def start(day: date) -> datetime:
    """The first moment of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def first_hot(today: date, days: int) -> date:
    """The first of so many full days before today."""
    return today - timedelta(days=days)


def last_made(today: date) -> date:
    """The last day that may have a partition already."""
    return today + timedelta(days=DAYS_AHEAD)


def hot_days(settings: Settings) -> dict[str, int]:
    """The hot days of every topic; raises SettingsError for one that there is not."""
    return days_in_tier(settings, "hot")


def days_of(times: pa.ChunkedArray) -> set[date]:
    """The UTC days of timestamps."""
    return set(pc.unique(times.cast(pa.timestamp("us")).cast(pa.date32())).to_pylist())


def make_day(connection: psycopg.Connection, schema: str, topic: str, day: date) -> None:
    """Make a day's partition and move its rows there out of DEFAULT; nothing when it is there.

    Writers to other days go on meanwhile; those to DEFAULT wait, and so may readers at the end.

    Args:
        connection: in autocommit.
        schema: where the tables are.
        topic: without prefix.
        day: in UTC.

    Raises:
        psycopg.errors.LockNotAvailable: somebody held the table for two seconds: try again later.
        psycopg.Error: the database does not answer or refuses.
    """
    with connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [_LOCK_LIMIT])
        lock(connection)
        if day not in days_made(connection, schema, topic):
            for step in _MAKE_DAY:
                connection.execute(_between(step, schema, topic, day, day))


def stray_days(
    connection: psycopg.Connection, schema: str, topic: str, first: date, last: date
) -> set[date]:
    """The days from `first` to `last` of which DEFAULT holds rows."""
    return {day for (day,) in connection.execute(_between(_STRAYS, schema, topic, first, last))}


_MAKE_DAY: tuple[LiteralString, ...] = (
    # A table that is attached blocks no writer of its siblings; PARTITION OF would.
    # With the constraints that somebody may have added: else it would not be attached.
    "CREATE TABLE {day} (LIKE {table} INCLUDING CONSTRAINTS)",
    "LOCK TABLE {rest} IN SHARE ROW EXCLUSIVE MODE",
    """WITH moved AS (DELETE FROM {rest} WHERE {time} >= {begin} AND {time} < {end} RETURNING *)
       INSERT INTO {day} SELECT * FROM moved""",
    "ALTER TABLE {table} ATTACH PARTITION {day} FOR VALUES FROM ({begin}) TO ({end})",
)


def _between(
    statement: LiteralString, schema: str, topic: str, first: date, last: date
) -> sql.Composed:
    """A statement about the days from `first` to `last` of a topic's table."""
    return sql.SQL(statement).format(
        table=sql.Identifier(schema, table_name(topic)),
        rest=sql.Identifier(schema, default_partition(topic)),
        day=sql.Identifier(schema, f"{table_name(topic)}_{first:%Y%m%d}"),
        time=sql.Identifier(time_column(topic)),
        begin=sql.Literal(start(first).isoformat()),
        end=sql.Literal(start(last + timedelta(days=1)).isoformat()),
    )


class Days:
    """The days that need no more thought, by topic; for the one who writes."""

    def __init__(self, settings: Settings) -> None:
        self._hot, self._schema = hot_days(settings), settings.database_schema
        self._known: dict[str, set[date]] = {}

    def load(self, connection: psycopg.Connection, topics: Collection[str]) -> None:
        """Learn which partitions the tables of these topics (without prefix) have."""
        self._known = {topic: days_made(connection, self._schema, topic) for topic in topics}

    def prepare(self, connection: psycopg.Connection, topic: str, days: Iterable[date]) -> None:
        """Make the partitions of these days that are hot and missing."""
        today, known = datetime.now(UTC).date(), self._known[topic]
        for day in sorted(set(days) - known):
            if first_hot(today, self._hot[topic]) <= day <= last_made(today):
                try:
                    make_day(connection, self._schema, topic, day)
                except _PUT_OFF as error:
                    log.warning("%s: no partition for %s yet: %s", topic, day, error)
                known.add(day)
