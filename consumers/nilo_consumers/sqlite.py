"""The SQLite sink: all tables in one file, with the offsets in the transaction of the rows."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Sequence
from datetime import timedelta

from nilo_consumers.batch import Batch, Policy
from nilo_consumers.decoding import TopicPart, record_of
from nilo_consumers.errors import StoreMovedError, StoreUnavailableError
from nilo_consumers.postgres import check_not_behind, final_windows
from nilo_consumers.sink import Offsets
from nilo_consumers.sqlite_file import OURS, open_to_write, tables, transaction, translated
from nilo_consumers.sqlite_tables import add_column, columns_of, create_table, insert
from nilo_consumers.tables import WINDOWS, stored_schema, table_name
from nilo_schemas.record import Record
from nilo_schemas.settings import Settings

_CREATE_OFFSETS = """
    CREATE TABLE IF NOT EXISTS sink_offsets (
        sink TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
        next_offset INTEGER NOT NULL, PRIMARY KEY (sink, topic, partition)) STRICT"""
_READ_OFFSETS = "SELECT partition, next_offset FROM sink_offsets WHERE sink = ? AND topic = ?"
_MOVE_OFFSETS = """
    INSERT INTO sink_offsets VALUES (?, ?, ?, ?)
    ON CONFLICT (sink, topic, partition) DO UPDATE SET next_offset = excluded.next_offset"""


class SqliteSink:
    """One table per topic in `settings.sqlite_location`; see `Sink` for the contract."""

    name = "sqlite"
    policy = Policy(rows=50_000, seconds=0.5)
    look_back: timedelta | None = None

    def __init__(self, settings: Settings) -> None:
        self._path, self._prefix = settings.sqlite_location, settings.topic_prefix
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    def connect(self, parts: Collection[TopicPart]) -> Offsets:
        """Open the file anew, make what is missing of the tables, read the offsets."""
        self.close()
        topics = sorted({topic for topic, _ in parts})
        self._connection = open_to_write(self._path)
        self._opened = self._identity()
        with translated(self._path, "making tables"), transaction(self._connection):
            self._make_tables([record_of(topic, self._prefix) for topic in topics])
            return {
                (topic, partition): offset
                for topic in topics
                for partition, offset in self._stored(topic).items()
            }

    def write(self, batch: Batch) -> int:
        """Store a batch.

        1. become the file's only writer, and read the offsets of the topic
        2. leave out what is stored already
        3. insert the rows
        4. move the offsets, and commit all of it
        """
        connection = self._connected()
        with translated(self._path, f"writing {batch.topic}"), transaction(connection):
            stored = self._stored(batch.topic)  # 1
            check_not_behind(batch, stored)
            left = batch.beyond(stored)  # 2
            rows = self._insert(left)  # 3
            self._move_offsets(left)  # 4
        return rows

    def close(self) -> None:
        """Close the file; the last one to do so leaves all in the one file, without a log."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreUnavailableError(f"SQLite file {self._path} is not open")
        if self._identity() != self._opened:
            # What is written to an open file that has no name any more is gone at its close.
            raise StoreMovedError(
                f"SQLite file {self._path} was removed or replaced while this sink ran; start the "
                "sink again: it stores what the file that is there then misses"
            )
        return self._connection

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116  the path's own would say no more
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _make_tables(self, wanted: Sequence[type[Record]]) -> None:
        connection = self._connected()
        connection.execute(f"PRAGMA application_id = {OURS}")
        connection.execute(_CREATE_OFFSETS)
        existing = tables(connection)
        for record in wanted:
            name = table_name(record.kafka_topic)
            statements = self._added(record) if name in existing else [*create_table(record)]
            for statement in statements:
                connection.execute(statement)

    def _added(self, record: type[Record]) -> list[str]:
        rows = self._connected().execute(
            "SELECT name FROM pragma_table_info(?)", [table_name(record.kafka_topic)]
        )
        known = {name for (name,) in rows}
        return [
            add_column(record, name) for name in stored_schema(record).names if name not in known
        ]

    def _stored(self, topic: str) -> dict[int, int]:
        return dict(self._connected().execute(_READ_OFFSETS, [self.name, topic]).fetchall())

    def _move_offsets(self, batch: Batch) -> None:
        ends = [(self.name, batch.topic, part, span.end) for part, span in batch.spans.items()]
        self._connected().executemany(_MOVE_OFFSETS, ends)

    def _insert(self, batch: Batch) -> int:
        record = record_of(batch.topic, self._prefix)
        rows = final_windows(batch.rows) if record.kafka_topic == WINDOWS else batch.rows
        if not rows.num_rows:
            return 0
        columns = columns_of(rows, record)
        values = zip(*columns.values(), strict=True)
        return self._connected().executemany(insert(record, columns), values).rowcount
