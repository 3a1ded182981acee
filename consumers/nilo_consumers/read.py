"""Read back what the sinks stored: counts and windows, from each store itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from nilo_consumers import postgres
from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.lake import dataset, existing_table, text_field, translated
from nilo_consumers.tables import STORED_AT, WINDOWS, table_name
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings

# By partition: the offsets [begin, end) that are asked for.
Ranges = Mapping[int, tuple[int, int]]


def count_postgres(
    settings: Settings, topic: str, *, distinct: bool = False, ranges: Ranges | None = None
) -> int:
    """Rows of a topic in PostgreSQL; 0 when there is no table yet.

    Args:
        settings: where the database is.
        topic: with or without prefix.
        distinct: count distinct (partition, offset) instead, so that doubles show.
        ranges: only events with these offsets; None: all.

    Raises:
        StoreUnavailableError: PostgreSQL does not answer.
    """
    what = "count(DISTINCT (kafka_partition, kafka_offset)) AS count" if distinct else "count(*)"
    name = table_name(topic.removeprefix(settings.topic_prefix))
    asked = sql.SQL(_IN_RANGES) if ranges is not None else sql.SQL("")
    query = sql.SQL("SELECT {} FROM {} {}").format(
        sql.SQL(what), sql.Identifier(settings.database_schema, name), asked
    )
    columns = [(number, *ends) for number, ends in (ranges or {}).items()]
    partitions, begins, ends = zip(*columns, strict=True) if columns else ((), (), ())
    values = {"partitions": [*partitions], "begins": [*begins], "ends": [*ends]}
    rows = _select(settings, query, values)
    return int(rows[0]["count"]) if rows else 0


def count_parquet(
    settings: Settings, topic: str, *, distinct: bool = False, ranges: Ranges | None = None
) -> int:
    """Rows of a topic in the Delta table; 0 when there is no table yet.

    Arguments as in `count_postgres`; raises StoreUnavailableError when the lake does not answer.
    """
    table = existing_table(settings, topic.removeprefix(settings.topic_prefix))
    if table is None:
        return 0
    with translated("counting"):
        found = dataset(table)
        wanted = None if ranges is None else _in_ranges(ranges)
        if not distinct:
            return int(found.count_rows(filter=wanted))
        keys = found.to_table(columns=[PARTITION, OFFSET], filter=wanted)
        return int(keys.group_by([PARTITION, OFFSET]).aggregate([]).num_rows)


def windows_postgres(
    settings: Settings,
    metric: str,
    *,
    window: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    dimensions: Mapping[str, str] | None = None,
    as_of: datetime | None = None,
) -> list[MetricWindow]:
    """The newest revision of each final window of a metric, oldest window first.

    Windows whose newest revision is withdrawn are left out.

    Args:
        settings: where the database is.
        metric: its name in the catalogue.
        window: only windows of this length (`1m`).
        since: only windows that begin at or after it.
        until: only windows that begin before it.
        dimensions: only series that have these values (others may stand beside them).
        as_of: only what was stored by then: what was known at that time.

    Raises:
        StoreUnavailableError: PostgreSQL does not answer.
    """
    given = {"metric": metric, "window": window, "since": since, "until": until, "as_of": as_of}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if dimensions:
        values["dimensions"] = Jsonb(dict(dimensions))
    query = sql.SQL(
        'SELECT * FROM (SELECT DISTINCT ON (window_start, "window", dimensions) {} FROM {}'
        ' WHERE {} ORDER BY window_start, "window", dimensions, revision DESC) newest'
        " WHERE NOT {}"
        ' ORDER BY window_start, "window", dimensions::text'
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, arrow_schema(MetricWindow).names)),
        sql.Identifier(settings.database_schema, table_name(WINDOWS)),
        sql.SQL(" AND ").join(_CONDITIONS[name] for name in values),
        _WITHDRAWN,
    )
    return [MetricWindow.model_validate(row) for row in _select(settings, query, values)]


def windows_parquet(
    settings: Settings,
    metric: str,
    *,
    window: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    dimensions: Mapping[str, str] | None = None,
    as_of: datetime | None = None,
) -> list[MetricWindow]:
    """As `windows_postgres`, from the Delta table."""
    table = existing_table(settings, WINDOWS)
    if table is None:
        return []
    wanted = _filter(metric, window, since, until, as_of)
    with translated("reading windows"):
        names = arrow_schema(MetricWindow).names
        rows = dataset(table).to_table(columns=names, filter=wanted)
    asked = set((dimensions or {}).items())
    found = [each for each in _windows_of(rows) if asked <= set(each.dimensions.items())]
    return _newest(found)


def _windows_of(rows: pa.Table) -> list[MetricWindow]:
    """The windows in rows that have exactly the columns of the contract."""
    return [_window(row) for row in rows.to_pylist()]


def _window(row: dict[str, Any]) -> MetricWindow:
    # A foreign writer may break a rule that Avro cannot say; the numbers are shown as they are.
    maps = {name: dict(row[name]) for name in ("dimensions", "quantiles")}
    return MetricWindow.model_validate(row | maps)


def _in_ranges(ranges: Ranges) -> pc.Expression:
    wanted = pc.scalar(False)
    for number, (begin, end) in ranges.items():
        in_range = (pc.field(OFFSET) >= begin) & (pc.field(OFFSET) < end)
        wanted |= (pc.field(PARTITION) == number) & in_range
    return wanted


def _newest(windows: list[MetricWindow]) -> list[MetricWindow]:
    newest: dict[tuple[Any, ...], MetricWindow] = {}
    for each in sorted(windows, key=lambda each: each.revision):
        series = tuple(sorted(each.dimensions.items()))
        newest[each.window_start, each.window, series] = each
    return [newest[key] for key in sorted(newest) if not newest[key].withdrawn]


_IN_RANGES = """
    JOIN unnest(%(partitions)s::int[], %(begins)s::bigint[], %(ends)s::bigint[])
        AS asked (number, first, beyond)
    ON kafka_partition = number AND kafka_offset >= first AND kafka_offset < beyond
"""
_WITHDRAWN = sql.SQL("(count = 0)")  # as `MetricWindow.withdrawn`
_CONDITIONS = {
    "metric": sql.SQL("metric = %(metric)s"),
    "window": sql.SQL('"window" = %(window)s'),
    "since": sql.SQL("window_start >= %(since)s"),
    "until": sql.SQL("window_start < %(until)s"),
    "dimensions": sql.SQL("dimensions @> %(dimensions)s"),
    "as_of": sql.SQL("stored_at <= %(as_of)s"),
}


def _filter(
    metric: str,
    window: str | None,
    since: datetime | None,
    until: datetime | None,
    as_of: datetime | None,
) -> pc.Expression:
    wanted = text_field("metric") == metric
    if window is not None:
        wanted &= text_field("window") == window
    if since is not None:
        wanted &= pc.field("window_start") >= _time(since)
    if until is not None:
        wanted &= pc.field("window_start") < _time(until)
    if as_of is not None:
        wanted &= pc.field(STORED_AT) <= _time(as_of)
    return wanted


def _time(value: datetime) -> pa.Scalar:
    return pa.scalar(value, pa.timestamp("us", "UTC"))


def _select(
    settings: Settings, query: sql.Composed, values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The rows of a query; none when its table does not exist yet."""
    with postgres.translated("reading"), _connection(settings) as connection:
        try:
            return connection.execute(query, values).fetchall()
        except psycopg.errors.UndefinedTable:
            return []


def _connection(settings: Settings) -> psycopg.Connection[dict[str, Any]]:
    return psycopg.Connection[dict[str, Any]].connect(
        settings.database(), connect_timeout=postgres.CONNECT_LIMIT, row_factory=dict_row
    )
