"""Read back what the SQLite sink stored: counts and windows, as in `read` from other stores."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from nilo_consumers.read import Ranges
from nilo_consumers.sqlite_file import reading, tables
from nilo_consumers.sqlite_tables import json_columns, quoted
from nilo_consumers.tables import WINDOWS, table_name
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings

_IN_RANGES = """
    JOIN (SELECT json_extract(value, '$[0]') AS number, json_extract(value, '$[1]') AS first,
                 json_extract(value, '$[2]') AS beyond FROM json_each(:ranges)) AS asked
    ON kafka_partition = number AND kafka_offset >= first AND kafka_offset < beyond"""
_CONDITIONS = {
    "metric": "metric = :metric",
    "window": '"window" = :window',
    "since": "window_start >= :since",
    "until": "window_start < :until",
    "dimensions": """NOT EXISTS (
        SELECT 1 FROM json_each(:dimensions) AS asked WHERE NOT EXISTS (
            SELECT 1 FROM json_each(metrics_windows.dimensions) AS here
            WHERE here.key = asked.key AND here.value = asked.value))""",
    "as_of": "stored_at <= :as_of",
}


def count_sqlite(
    settings: Settings, topic: str, *, distinct: bool = False, ranges: Ranges | None = None
) -> int:
    """Rows of a topic in the SQLite file; 0 when there is no file or no table yet.

    Arguments as in `count_postgres`.

    Raises:
        StoreRefusedError: the file is none of ours, or cannot be read.
        StoreUnavailableError: it is locked.
    """
    table = table_name(topic.removeprefix(settings.topic_prefix))
    what = "SELECT DISTINCT kafka_partition, kafka_offset" if distinct else "SELECT 1"
    asked = _IN_RANGES if ranges is not None else ""
    values = {"ranges": json.dumps([(part, *ends) for part, ends in (ranges or {}).items()])}
    with reading(settings.sqlite_location) as connection:
        if connection is None or table not in tables(connection):
            return 0
        query = f"SELECT count(*) FROM ({what} FROM {quoted(table)} {asked})"  # noqa: S608  the name is quoted
        return int(connection.execute(query, values).fetchone()[0])


def windows_sqlite(
    settings: Settings,
    metric: str,
    *,
    window: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    dimensions: Mapping[str, str] | None = None,
    as_of: datetime | None = None,
) -> list[MetricWindow]:
    """As `windows_postgres`, from the SQLite file; raises as `count_sqlite` does."""
    times = {"since": since, "until": until, "as_of": as_of}
    values: dict[str, Any] = {"metric": metric, "window": window}
    values |= {name: None if time is None else stored_time(time) for name, time in times.items()}
    values["dimensions"] = json.dumps(dict(dimensions)) if dimensions else None
    given = {name: value for name, value in values.items() if value is not None}
    conditions = " AND ".join(_CONDITIONS[name] for name in given)
    with reading(settings.sqlite_location) as connection:
        if connection is None or table_name(WINDOWS) not in tables(connection):
            return []
        return [_window(row) for row in connection.execute(_newest(conditions), given)]


def _newest(conditions: str) -> str:
    """The query for the newest revision of each window, those that are withdrawn left out."""
    columns = ", ".join(map(quoted, arrow_schema(MetricWindow).names))
    return f"""
        SELECT {columns} FROM (
            SELECT *, row_number() OVER (
                PARTITION BY window_start, "window", dimensions ORDER BY revision DESC) AS place
            FROM metrics_windows WHERE {conditions})
        WHERE place = 1 AND count > 0 ORDER BY window_start, "window", dimensions"""  # noqa: S608  names and conditions are ours


def _window(row: sqlite3.Row) -> MetricWindow:
    return MetricWindow.model_validate(plain(row, json_columns(MetricWindow)))


def plain(row: sqlite3.Row, nested: frozenset[str]) -> dict[str, Any]:
    """A row as a dict, its nested values read from their JSON."""
    return {
        name: json.loads(row[name]) if name in nested and row[name] is not None else row[name]
        for name in row.keys()  # noqa: SIM118  a Row itself gives its values
    }


def stored_time(time: datetime) -> str:
    """A time as it stands in the file."""
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(' ', 'microseconds')}Z"
