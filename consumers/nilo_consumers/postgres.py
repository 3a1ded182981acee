"""The PostgreSQL sink: COPY, with the offsets in the transaction of the rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
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
from nilo_consumers.sink import Offsets
from nilo_consumers.tables import (
    STORED_AT,
    WINDOWS,
    add_column,
    create_table,
    stored_schema,
    table_name,
)
from nilo_schemas.record import Record
from nilo_schemas.settings import Settings

OFFSETS = "sink_offsets"
CONNECT_LIMIT = 10  # seconds
_TABLES_LOCK = 0x6E696C6F  # one number for all: "nilo"
_COPY_PIECE = 1 << 20  # bytes
_CREATE_OFFSETS = """
    CREATE TABLE IF NOT EXISTS {} (
        sink text, topic text, partition integer, next_offset bigint NOT NULL,
        PRIMARY KEY (sink, topic, partition))"""


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
            f"({_line(error)}): its table {OFFSETS} was set back or emptied"
        ) from error
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise RowsRefusedError(f"PostgreSQL refuses rows {doing}: {_line(error)}") from error
    except psycopg.Error as error:
        raise StoreRefusedError(f"PostgreSQL refuses {doing}: {_line(error)}") from error


def _line(error: psycopg.Error) -> str:
    # Of what a server says, only the first line: the rest shows rows, which stay out of logs.
    return " ".join((error.diag.message_primary or str(error)).split())


class PostgresSink:
    """One table per topic under `settings.database_schema`; see `Sink` for the contract."""

    name = "postgres"
    policy = Policy(rows=50_000, seconds=0.5)
    look_back: timedelta | None = None

    def __init__(self, settings: Settings) -> None:
        self._url, self._schema = settings.database(), settings.database_schema
        self._prefix = settings.topic_prefix
        self._connection: psycopg.Connection | None = None

    def connect(self, parts: Collection[TopicPart]) -> Offsets:
        """Connect anew, make what is missing of the tables, read the offsets."""
        self.close()
        topics = sorted({topic for topic, _ in parts})
        with translated("connecting"):
            self._connection = psycopg.connect(
                self._url, connect_timeout=CONNECT_LIMIT, application_name="nilo-sink-postgres"
            )
            with self._connection.transaction():
                self._make_tables([record_of(topic, self._prefix) for topic in topics])
            with self._connection.transaction():
                return self._read_offsets(topics)

    def write(self, batch: Batch) -> int:
        """Store a batch.

        1. lock the offsets of the batch's partitions
        2. leave out what is stored already
        3. copy the rows
        4. move the offsets, and commit all of it
        """
        connection = self._connected()
        with translated(f"writing {batch.topic}"), connection.transaction():
            stored = self._lock_offsets(batch)  # 1
            left = batch.beyond(stored)  # 2
            rows = self._copy(left) if left.rows.num_rows else 0  # 3
            self._move_offsets(left)  # 4
        return rows

    def close(self) -> None:
        """Close the connection; what was not committed is undone by the server."""
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

    def _make_tables(self, wanted: Sequence[type[Record]]) -> None:
        # Several sinks start at once, and CREATE ... IF NOT EXISTS alone loses that race.
        self._execute(sql.SQL("SELECT pg_advisory_xact_lock(%s)"), [_TABLES_LOCK])
        self._execute(
            sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self._schema))
        )
        self._execute(self._in_schema(_CREATE_OFFSETS))
        existing = self._existing_columns()
        for record in wanted:
            for statement in self._missing(record, existing.get(table_name(record.kafka_topic))):
                self._execute(statement)

    def _missing(self, record: type[Record], columns: set[str] | None) -> Iterator[sql.Composed]:
        if columns is None:
            yield from create_table(self._schema, record)
            return
        for name in stored_schema(record).names:
            if name not in columns:
                yield from add_column(self._schema, record, name)

    def _existing_columns(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        query = sql.SQL(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s"
        )
        for table, column in self._execute(query, [self._schema]):
            found.setdefault(table, set()).add(column)
        return found

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
        text = memoryview(csv_text(rows))
        with self._connected().cursor() as cursor, cursor.copy(statement) as copy:
            for begin in range(0, len(text), _COPY_PIECE):
                copy.write(text[begin : begin + _COPY_PIECE])
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
