"""The SQLite file: opened, known to be ours, and its errors translated."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nilo_consumers.errors import (
    RowsRefusedError,
    StoreMovedError,
    StoreRefusedError,
    StoreUnavailableError,
)

OURS = 0x6E696C6F  # "nilo" as the application id in the file's header
BUSY_LIMIT = 10.0  # seconds that one waits for another writer
_STRICT_SINCE = (3, 37)
_PAGE = 8192  # bytes
_CHECKPOINT = 4000  # pages of the log; a batch fits
_LATER = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PROTOCOL,
}
_THERE = {sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE}
_ANOTHER = "choose another with --sqlite-file"
_WAY_OUT = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
    sqlite3.SQLITE_FULL: "make room there",
    sqlite3.SQLITE_READONLY: f"make it writable or {_ANOTHER}",
    sqlite3.SQLITE_CANTOPEN: f"see to its folder and rights, or {_ANOTHER}",
    sqlite3.SQLITE_NOTADB: _ANOTHER,
    sqlite3.SQLITE_CORRUPT: f"move it away or {_ANOTHER}: it is filled anew from Kafka",
}


@contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """Raise sqlite3's errors as ours, marked transient or not."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode in _THERE:
            raise StoreMovedError(
                f"SQLite file {path} holds rows already that its offsets do not say, {doing} "
                f"({error}): its table sink_offsets was set back, or another installation writes"
            ) from error
        raise RowsRefusedError(f"SQLite file {path} refuses rows {doing}: {error}") from error
    except sqlite3.Error as error:
        raise _ours(path, doing, error) from error
    except OSError as error:
        raise StoreRefusedError(
            f"SQLite file {path} fails {doing}: {error.strerror}; {_ANOTHER}"
        ) from error


def _ours(
    path: Path, doing: str, error: sqlite3.Error
) -> StoreRefusedError | StoreUnavailableError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what extends it
    way_out = f"; {_WAY_OUT[code]}" if code in _WAY_OUT else ""
    text = f"SQLite file {path} fails {doing}: {error}{way_out}"
    return StoreUnavailableError(text) if code in _LATER else StoreRefusedError(text)


def open_to_write(path: Path) -> sqlite3.Connection:
    """The file as its writer, made when it is not there; what was committed survives a power cut.

    Raises:
        StoreRefusedError: it is no file of ours, or cannot be written.
        StoreUnavailableError: it is locked.
    """
    if sqlite3.sqlite_version_info < _STRICT_SINCE:
        raise StoreRefusedError(
            f"this Python has SQLite {sqlite3.sqlite_version}, and our tables need 3.37 or later"
        )
    with translated(path, "opening"):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_LIMIT, isolation_level=None)
    try:
        with translated(path, "opening"):
            connection.execute(f"PRAGMA page_size = {_PAGE}")
            _check_ours(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """The file to read from; None when there is none yet. Never writes to it.

    Raises:
        StoreRefusedError: it is no file of ours, or cannot be read.
        StoreUnavailableError: it is locked.
    """
    if not path.exists():
        yield None
        return
    with translated(path, "reading"):
        uri = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_LIMIT, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            _check_ours(connection, path)
            yield connection
        finally:
            connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, as the only writer of the file from the beginning on."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # some errors, such as a full disk, have undone it already
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def tables(connection: sqlite3.Connection) -> set[str]:
    """The names of the tables in the file."""
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    return {name for (name,) in rows}


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    # Both from one state of the file: another program of ours may make its tables in between.
    connection.execute("BEGIN")
    [found] = connection.execute("PRAGMA application_id").fetchone()
    foreign = found != OURS and tables(connection)
    connection.execute("COMMIT")
    if foreign:
        raise StoreRefusedError(f"SQLite file {path} holds tables of another program: {_ANOTHER}")
