"""The PostgreSQL sink: COPY, with the offsets in the transaction of the rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import CollectorRegistry
from psycopg import sql

from nilo_consumers.batch import Batch, Policy
from nilo_consumers.csv_text import csv_text
from nilo_consumers.decoding import TopicPart, record_of
from nilo_consumers.errors import (
    RowsRefusedError,
    StoreMovedError,
    StoreRefusedError,
    StoreUnavailableError,
)
from nilo_consumers.postgres_days import Days, days_of
from nilo_consumers.postgres_maintenance import Maintenance
from nilo_consumers.postgres_migrations import lock_shared, migrate, migrations
from nilo_consumers.postgres_tables import make_tables
from nilo_consumers.sink import Offsets
from nilo_consumers.tables import STORED_AT, WINDOWS, table_name, time_column
from nilo_schemas.settings import Settings

OFFSETS = "sink_offsets"
CONNECT_LIMIT = 10  # seconds
# The server works on a piece of the rows while the text of the next one is made.
_PIECE = 5_000  # rows


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise psycopg's errors as ours, marked transient or not."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailableError(f"PostgreSQL fails {doing}: {_line(error)}") from error
    except psycopg.errors.UniqueViolation as error:
        raise StoreMovedError(
            f"PostgreSQL holds rows already while {doing}, which its offsets do not say "
            f"({_line(error)}): its table {OFFSETS} was set back, or another installation writes"
        ) from error
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise RowsRefusedError(f"PostgreSQL refuses rows {doing}: {_line(error)}") from error
    except psycopg.Error as error:
        raise StoreRefusedError(f"PostgreSQL refuses {doing}: {_line(error)}") from error


def _line(error: psycopg.Error) -> str:
    # Of what a server says, only the first line: the rest shows rows, which stay out of logs.
    return " ".join((error.diag.message_primary or str(error)).split())


def open_connection(url: str, program: str) -> psycopg.Connection:
    """A connection in autocommit; the server's list of connections shows `program`."""
    return psycopg.connect(
        url, autocommit=True, connect_timeout=CONNECT_LIMIT, application_name=program
    )


class PostgresSink:
    """One table per topic under `settings.database_schema`; see `Sink` for the contract.

    Args:
        settings: where the database is, and for how long its days are hot.
        registry: where the maintenance counts its failures.
    """

    name = "postgres"
    policy = Policy(rows=50_000, seconds=0.5)
    look_back: timedelta | None = None

    def __init__(self, settings: Settings, registry: CollectorRegistry | None = None) -> None:
        self._url, self._schema = settings.database(), settings.database_schema
        self._prefix = settings.topic_prefix
        self._days = Days(settings)
        self._maintenance = Maintenance(settings, self._open, registry)
        self._connection: psycopg.Connection | None = None

    def connect(self, parts: Collection[TopicPart]) -> Offsets:
        """Connect anew, make what is missing of the tables, read the offsets."""
        self._disconnect()
        topics = sorted({topic for topic, _ in parts})
        records = [record_of(topic, self._prefix) for topic in topics]
        with translated("connecting"):
            self._connection = self._open()
            migrate(self._connection, self._schema, migrations())
            make_tables(self._connection, self._schema, records)
            self._days.load(self._connection, [record.kafka_topic for record in records])
            offsets = self._read_offsets(topics)
        self._maintenance.start()
        return offsets

    def write(self, batch: Batch) -> int:
        """Store a batch.

        1. make the partitions of its days, where they are hot and missing
        2. lock the offsets of the batch's partitions
        3. leave out what is stored already
        4. copy the rows
        5. move the offsets, and commit all of it
        """
        with translated(f"writing {batch.topic}"):
            self._make_days(batch)  # 1
            try:
                return self._store(batch)
            except psycopg.errors.CheckViolation:
                # Another process made a day while COPY was about to put its rows into DEFAULT.
                return self._store(batch, alone=True)

    def _store(self, batch: Batch, *, alone: bool = False) -> int:
        """Steps 2 to 5; `alone`: while nobody makes a day."""
        connection = self._connected()
        with connection.transaction():
            if alone:
                lock_shared(connection)
            stored = self._lock_offsets(batch)  # 2
            left = batch.beyond(stored)  # 3
            rows = self._copy(left) if left.rows.num_rows else 0  # 4
            self._move_offsets(left)  # 5
        return rows

    def close(self) -> None:
        """End the maintenance and the connection; the server undoes what was not committed."""
        self._maintenance.stop()
        self._disconnect()

    def _open(self) -> psycopg.Connection:
        return open_connection(self._url, "nilo-sink-postgres")

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            raise StoreUnavailableError("PostgreSQL is not connected")
        return self._connection

    def _execute(
        self, statement: sql.SQL | sql.Composed, values: Sequence[object] = ()
    ) -> psycopg.Cursor:
        return self._connected().execute(statement, values or None)

    def _in_schema(self, statement: LiteralString) -> sql.Composed:
        return sql.SQL(statement).format(sql.Identifier(self._schema, OFFSETS))

    def _make_days(self, batch: Batch) -> None:
        topic = batch.topic.removeprefix(self._prefix)
        days = days_of(batch.rows.column(time_column(topic)))
        self._days.prepare(self._connected(), topic, days)

    def _read_offsets(self, topics: Sequence[str]) -> Offsets:
        query = self._in_schema(
            "SELECT topic, partition, next_offset FROM {} WHERE sink = %s AND topic = ANY(%s)"
        )
        rows = self._execute(query, [self.name, list(topics)])
        return {(topic, partition): offset for topic, partition, offset in rows}

    def _lock_offsets(self, batch: Batch) -> dict[int, int]:
        """The stored offsets of the batch's partitions, locked until the transaction ends."""
        # A row that is not there cannot be locked, so each partition's row is made first.
        partitions = sorted(batch.spans)
        starts = [batch.spans[partition].start for partition in partitions]
        self._execute(
            self._in_schema(
                "INSERT INTO {} SELECT %s, %s, * FROM unnest(%s::integer[], %s::bigint[])"
                " ON CONFLICT DO NOTHING"
            ),
            [self.name, batch.topic, partitions, starts],
        )
        query = self._in_schema(
            "SELECT partition, next_offset FROM {} WHERE sink = %s AND topic = %s"
            " AND partition = ANY(%s) ORDER BY partition FOR UPDATE"
        )
        rows = self._execute(query, [self.name, batch.topic, partitions])
        stored: dict[int, int] = dict(rows.fetchall())
        check_not_behind(batch, stored)
        return stored

    def _move_offsets(self, batch: Batch) -> None:
        partitions = sorted(batch.spans)
        self._execute(
            self._in_schema(
                "UPDATE {} AS kept SET next_offset = new.next_offset"
                " FROM unnest(%s::integer[], %s::bigint[]) AS new(partition, next_offset)"
                " WHERE sink = %s AND topic = %s AND kept.partition = new.partition"
            ),
            [partitions, [batch.spans[p].end for p in partitions], self.name, batch.topic],
        )

    def _copy(self, batch: Batch) -> int:
        topic = batch.topic.removeprefix(self._prefix)
        if topic == WINDOWS:
            return self._copy_windows(final_windows(batch.rows))
        return self._copy_into(sql.Identifier(self._schema, table_name(topic)), batch.rows)

    def _copy_windows(self, rows: pa.Table) -> int:
        """Windows come again after a restart of the processors: the same revision once only."""
        table, passing = (
            sql.Identifier(self._schema, table_name(WINDOWS)),
            sql.Identifier("passing"),
        )
        self._execute(
            sql.SQL("CREATE TEMP TABLE {} (LIKE {}) ON COMMIT DROP").format(passing, table)
        )
        self._copy_into(passing, rows)
        stored = self._execute(
            sql.SQL("INSERT INTO {} SELECT * FROM {} ON CONFLICT DO NOTHING").format(table, passing)
        )
        return stored.rowcount

    def _copy_into(self, table: sql.Identifier, rows: pa.Table) -> int:
        names = sql.SQL(", ").join(map(sql.Identifier, rows.column_names))
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(table, names)
        with self._connected().cursor() as cursor, cursor.copy(statement) as copy:
            for begin in range(0, rows.num_rows, _PIECE):
                copy.write(memoryview(csv_text(rows.slice(begin, _PIECE))))
        return int(rows.num_rows)


def final_windows(rows: pa.Table) -> pa.Table:
    """The final windows among the rows, with the time at which they are stored."""
    finals = rows.filter(pc.field("final"))
    now = pa.scalar(datetime.now(UTC), pa.timestamp("us", "UTC"))
    field = pa.field(STORED_AT, now.type, False)
    return finals.append_column(field, pa.repeat(now, finals.num_rows))


def check_not_behind(batch: Batch, stored: Mapping[int, int]) -> None:
    """Raise StoreMovedError when the store misses offsets that this sink has already written."""
    for partition, span in batch.spans.items():
        if stored.get(partition, span.start) < span.start:
            raise StoreMovedError(
                f"the store holds {batch.topic}/{partition} up to offset {stored[partition]}, not "
                f"{span.start}: it was set back while this sink ran; start the sink again to "
                f"resume from there"
            )
