"""Retention of the PostgreSQL store: which rows are past their hot days, and dropping them.

Nothing here runs by itself: rows must be in another tier before they go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import LiteralString

import psycopg
from psycopg import sql

from nilo_consumers.errors import StoreMovedError
from nilo_consumers.postgres import open_connection, translated
from nilo_consumers.postgres_days import (
    Partition,
    first_hot,
    hot_days,
    partitions,
    start,
    topics_of,
)
from nilo_consumers.postgres_migrations import lock
from nilo_consumers.tables import table_name, time_column
from nilo_schemas.settings import Settings

_LOCK_LIMIT = "10s"
_COUNT: LiteralString = """
    SELECT count(*), CASE WHEN {whole} THEN pg_total_relation_size({name})
                          ELSE coalesce(sum(pg_column_size(kept)), 0) END
    FROM {partition} AS kept WHERE {time} < {before}"""


@dataclass(frozen=True)
class Expired:
    """Rows that are past their hot days: a whole day partition, or a part of DEFAULT.

    Args:
        partition: where the rows are; `partition.day` is None for DEFAULT.
        before: all of its rows with an earlier time go.
        rows: how many they are.
        size: bytes: of a day the partition with its indexes, of DEFAULT the rows alone.
    """

    partition: Partition
    before: datetime
    rows: int
    size: int

    @property
    def table(self) -> str:
        """The name of the topic's table."""
        return table_name(self.partition.topic)


def expired(found: Iterable[Partition], first: date) -> list[Partition]:
    """The days before the first hot one, and DEFAULT, which may hold rows of such days."""
    return [each for each in found if each.day is None or each.day < first]


def plan_retention(settings: Settings, today: date) -> list[Expired]:
    """What `drop_expired` would take away, as it is now; nothing is changed.

    Args:
        settings: where the database is, and the hot days of each topic.
        today: the day (UTC) before which the hot days lie.

    Raises:
        StoreUnavailableError: PostgreSQL does not answer.
        StoreRefusedError: PostgreSQL refuses us.
    """
    schema, hot = settings.database_schema, hot_days(settings)
    with translated("planning retention"), _connection(settings) as connection:
        plan = [
            _counted(connection, schema, each, start(first))
            for topic in topics_of(connection, schema)
            for first in (first_hot(today, hot[topic]),)
            for each in expired(partitions(connection, schema, topic), first)
        ]
    return [each for each in plan if each.rows or each.partition.day is not None]


def drop_expired(settings: Settings, plan: Sequence[Expired]) -> Iterator[Expired]:
    """Drop what was planned, each in a transaction of its own, and yield it when it is gone.

    Args:
        settings: where the database is.
        plan: of `plan_retention`; its rows are safe in another tier.

    Raises:
        StoreMovedError: a partition holds other rows than planned: plan again; it stays as it is.
        StoreUnavailableError: PostgreSQL does not answer, or others kept the table locked.
        StoreRefusedError: PostgreSQL refuses us.
    """
    with translated("dropping what is expired"), _connection(settings) as connection:
        for each in plan:
            with connection.transaction():
                connection.execute("SELECT set_config('lock_timeout', %s, true)", [_LOCK_LIMIT])
                _drop(connection, settings.database_schema, each)
            yield each


def _drop(connection: psycopg.Connection, schema: str, each: Expired) -> None:
    """Lock the rows' partition, see that it is as planned, and take the rows away."""
    names = _names(schema, each.partition, each.before)
    table = sql.SQL("LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE").format(**names)
    rest = sql.SQL("LOCK TABLE {partition} IN SHARE ROW EXCLUSIVE MODE").format(**names)
    # Dropping a partition takes the table's lock: in this order nobody waits for us crosswise.
    lock(connection)
    connection.execute(table if each.partition.day is not None else rest)
    rows = _counted(connection, schema, each.partition, each.before).rows
    if rows != each.rows:
        raise StoreMovedError(
            f"{each.partition.name} holds {rows} rows before {each.before:%Y-%m-%d}, not the "
            f"{each.rows} that were planned: plan again, so that the others are kept elsewhere too"
        )
    gone = "DROP TABLE {partition}" if each.partition.day is not None else _DELETE
    connection.execute(sql.SQL(gone).format(**names))


_DELETE: LiteralString = "DELETE FROM {partition} WHERE {time} < {before}"


def _counted(
    connection: psycopg.Connection, schema: str, partition: Partition, before: datetime
) -> Expired:
    names = _names(schema, partition, before)
    whole, name = sql.Literal(partition.day is not None), names["partition"].as_string(connection)
    query = sql.SQL(_COUNT).format(whole=whole, name=sql.Literal(name), **names)
    found = connection.execute(query).fetchone() or (0, 0)
    return Expired(partition, before, int(found[0]), int(found[1]))


def _names(schema: str, partition: Partition, before: datetime) -> dict[str, sql.Composable]:
    return {
        "table": sql.Identifier(schema, table_name(partition.topic)),
        "partition": sql.Identifier(schema, partition.name),
        "time": sql.Identifier(time_column(partition.topic)),
        "before": sql.Literal(before.isoformat()),
    }


def _connection(settings: Settings) -> psycopg.Connection:
    return open_connection(settings.database(), "nilo-tiers")
