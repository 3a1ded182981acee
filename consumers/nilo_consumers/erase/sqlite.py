"""The SQLite file: rows deleted with a note of their offsets, then the file written anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

from nilo_consumers.audit.in_tables import STRETCHES, spans_by_partition
from nilo_consumers.audit.spans import count as number_of
from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.erase.receipt import Line
from nilo_consumers.erase.subject import sqlite_condition
from nilo_consumers.errors import StoreUnavailableError
from nilo_consumers.sqlite import SqliteSink
from nilo_consumers.sqlite_file import open_to_write, reading, tables, transaction, translated
from nilo_consumers.sqlite_tables import quoted
from nilo_consumers.tables import ERASED_OFFSETS, table_name
from nilo_schemas.contracts import stored_records
from nilo_schemas.settings import Settings

PLACE = SqliteSink.name
_CREATE = f"""
    CREATE TABLE IF NOT EXISTS {ERASED_OFFSETS} ( -- what `nilo erase` has deleted; not whose it was
        erasure TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
        first_offset INTEGER NOT NULL, next_offset INTEGER NOT NULL,
        cleaned INTEGER NOT NULL DEFAULT 0 -- whether the file was written anew since
    ) STRICT"""
_NOTE = f"""
    INSERT INTO {ERASED_OFFSETS} (erasure, topic, partition, first_offset, next_offset)
    VALUES (?, ?, ?, ?, ?)"""  # noqa: S608  the name is ours
_UNCLEAN = f"SELECT count(*) FROM {ERASED_OFFSETS} WHERE NOT cleaned"  # noqa: S608  as above
_CLEANED = f"UPDATE {ERASED_OFFSETS} SET cleaned = 1 WHERE NOT cleaned"  # noqa: S608  as above
_REACHED = "SELECT partition, next_offset FROM sink_offsets WHERE sink = ? AND topic = ?"


def count(settings: Settings, subject: str) -> Iterator[Line]:
    """The subject's rows, table by table; none without a file.

    Raises:
        StoreError: the file is none of ours, or locked.
    """
    with reading(settings.sqlite_location) as connection:
        if connection is None:
            return
        for topic in _topics(connection):
            query = (
                f"SELECT count(*) FROM {quoted(table_name(topic))} WHERE {sqlite_condition(topic)}"  # noqa: S608  the name is quoted, the condition ours
            )
            rows = int(connection.execute(query, [subject]).fetchone()[0])
            reached = _reached(connection, settings.topic_prefix + topic)
            yield Line(PLACE, topic, rows, reached=reached)
        if _unclean(connection):
            yield Line(PLACE, left="the file holds deleted rows still: run `nilo erase` again")


def erase(settings: Settings, subject: str, erasure: UUID) -> Iterator[Line]:
    """Delete the subject's rows in one transaction; then write the file anew, without their bytes.

    A sink may go on meanwhile. A run that is killed leaves the second step to the next.

    Raises:
        StoreError: the file is none of ours, or others keep it locked.
    """
    path = settings.sqlite_location
    if not path.exists():
        return
    doing = "erasing a subject's rows"
    with closing(open_to_write(path)) as connection, translated(path, doing):
        with transaction(connection):
            connection.execute(_CREATE)
            lines = [
                _erase(connection, settings, topic, subject, erasure)
                for topic in _topics(connection)
            ]
        yield from lines
        if _unclean(connection):
            _write_anew(connection)


def _erase(
    connection: sqlite3.Connection, settings: Settings, topic: str, subject: str, erasure: UUID
) -> Line:
    table, theirs = quoted(table_name(topic)), sqlite_condition(topic)
    rows = f"(SELECT {PARTITION}, {OFFSET} FROM {table} WHERE {theirs})"  # noqa: S608  the name is quoted, the condition ours
    found = spans_by_partition(connection.execute(STRETCHES.format(table=rows), [subject]))
    stretches = [(number, span) for number, spans in found.items() for span in spans]
    connection.executemany(
        _NOTE, [(str(erasure), topic, number, s.start, s.end) for number, s in stretches]
    )
    connection.execute(f"DELETE FROM {table} WHERE {theirs}", [subject])  # noqa: S608  as above
    reached = _reached(connection, settings.topic_prefix + topic)
    return Line(PLACE, topic, number_of(span for _, span in stretches), reached=reached)


def _write_anew(connection: sqlite3.Connection) -> None:
    """Leave no deleted bytes in free pages, in unused parts of pages, nor in the log beside."""
    connection.execute("VACUUM")
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StoreUnavailableError(
            "the log of the SQLite file holds deleted rows while others read it: run again"
        )
    with transaction(connection):
        connection.execute(_CLEANED)


def _topics(connection: sqlite3.Connection) -> list[str]:
    """The topics (without prefix) that have a table."""
    there = tables(connection)
    return [topic for topic in stored_records() if table_name(topic) in there]


def _reached(connection: sqlite3.Connection, topic: str) -> dict[int, int]:
    return dict(map(tuple, connection.execute(_REACHED, [PLACE, topic])))


def _unclean(connection: sqlite3.Connection) -> bool:
    if ERASED_OFFSETS not in tables(connection):
        return False
    return bool(connection.execute(_UNCLEAN).fetchone()[0])
