"""Events put in order on disk, as lines of JSON: memory does not grow with events."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC
from itertools import groupby
from types import TracebackType
from typing import Any, NamedTuple, Self

from nilo_schemas.envelope import Event

_CACHE = 64 * 1024  # KiB; what is beyond lies in a temporary file
_REASONS = 3
_TABLE = """
    CREATE TABLE events (
        time TEXT, id TEXT, line TEXT, topic TEXT, session TEXT, PRIMARY KEY (time, id, line)
    ) WITHOUT ROWID"""
_SECTIONS = """
    WITH sessions AS (
        SELECT session, min(time) AS first, max(time) AS last, count(*) AS events
        FROM events GROUP BY session)
    SELECT session, first, last, sessions.events, iif(topic IN ({}), '', topic) AS part, line
    FROM events JOIN sessions USING (session)
    ORDER BY first, session, part, time, id, line"""


class Session(NamedTuple):
    """A session; its name is empty for the events that belong to none."""

    name: str
    first: str
    last: str
    events: int


class Spool:
    """Takes events in any order and gives their lines by time, then id; equal ones once."""

    def __init__(self) -> None:
        # A database without a name is a temporary file, which goes with the connection.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute(f"PRAGMA cache_size = -{_CACHE}")
        self._database.execute(_TABLE)
        self._database.execute("BEGIN")
        self.columns: dict[str, set[str]] = {}
        self.events = self.doubles = self.refused = 0
        self.reasons: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()

    def add(self, event: Event) -> None:
        """Take in an event."""
        values = json_values(event)
        time = event.time.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        line = json.dumps(values, ensure_ascii=False)
        row = [time, event.id, line, event.kafka_topic, event.session_id or ""]
        statement = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)"
        new = self._database.execute(statement, row).rowcount
        self.events += new
        self.doubles += 1 - new
        self.columns.setdefault(event.kafka_topic, set()).update(values)

    def refuse(self, reason: str) -> None:
        """Count values that are no event; the first few reasons are kept."""
        self.refused += 1
        if len(self.reasons) < _REASONS:
            self.reasons.append(reason)

    def lines(self) -> Iterator[str]:
        """The events as JSON, by time, then id."""
        for (line,) in self._database.execute("SELECT line FROM events ORDER BY time, id, line"):
            yield line

    def sections(
        self, together: Sequence[str]
    ) -> Iterator[tuple[Session, Iterator[tuple[str, Iterator[dict[str, Any]]]]]]:
        """The sessions, the first one first, and in each the values of the events by topic.

        Args:
            together: topics that are one part of a session, its first, with an empty name.
        """
        query = _SECTIONS.format(", ".join("?" * len(together)))
        rows = self._database.execute(query, together)
        for session, of_session in groupby(rows, lambda row: row[:4]):
            yield Session(*session), _parts(of_session)


def _parts(rows: Iterator[Any]) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    for part, of_part in groupby(rows, lambda row: row[4]):
        yield part, (json.loads(row[5]) for row in of_part)


def json_values(event: Event) -> dict[str, Any]:
    """An event as `nilo tail` shows and `nilo emit` takes it.

    Maps are by key: the stores do not keep their order, and equal events are to be equal lines.
    """
    values = event.model_dump(mode="json", exclude_none=True)
    nested = {
        name: _by_key(value) for name, value in values.items() if isinstance(value, dict | list)
    }
    return values | nested


def _by_key(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _by_key(value[key]) for key in sorted(value)}
    return [_by_key(each) for each in value] if isinstance(value, list) else value
