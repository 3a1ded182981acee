"""Final windows out of the stores as Arrow rows with their origin: all revisions, many series."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from nilo_consumers import postgres
from nilo_consumers.batch import ORIGIN
from nilo_consumers.lake import dataset, existing_table, text_field, translated
from nilo_consumers.tables import WINDOWS, table_name
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from nilo_schemas.windows import parse_window

_ROWS = 2000  # rows in memory at a time
# The histogram is by far the largest part of a window, and no rule looks at it.
SCHEMA = pa.schema(
    [field for field in (*arrow_schema(MetricWindow), *ORIGIN) if field.name != "histogram"]
)
COLUMNS: list[str] = SCHEMA.names
Kind = tuple[str, str]  # the metric of windows and their length, such as 1m
Read = Callable[
    [Settings, Collection[Kind], datetime, datetime, Mapping[str, str]], Iterator[pa.RecordBatch]
]


def window_rows_postgres(
    settings: Settings,
    kinds: Collection[Kind],
    since: datetime,
    until: datetime,
    labels: Mapping[str, str],
) -> Iterator[pa.RecordBatch]:
    """The final windows of some kinds that end in `(since, until]`, in batches of SCHEMA.

    Args:
        settings: where the store is.
        kinds: metrics and lengths; there may be others of the same metrics among what is found.
        since: when windows end at the earliest, not included.
        until: when they end at the latest.
        labels: only series that have these values.

    Raises:
        StoreUnavailableError: PostgreSQL does not answer.
    """
    query = sql.SQL(
        'SELECT {} FROM {} WHERE metric = ANY(%(metrics)s) AND "window" = ANY(%(lengths)s)'
        " AND final AND window_end > %(since)s AND window_end <= %(until)s"
        " AND window_start >= %(begin)s AND window_start < %(until)s"
        " AND dimensions @> %(labels)s"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
        sql.Identifier(settings.database_schema, table_name(WINDOWS)),
    )
    values = {
        "metrics": sorted({metric for metric, _ in kinds}),
        "lengths": sorted({length for _, length in kinds}),
        "begin": _begin(kinds, since),
        "since": since,
        "until": until,
        "labels": Jsonb(dict(labels)),
    }
    with (
        postgres.translated("reading windows"),
        psycopg.Connection[dict[str, Any]].connect(
            settings.database(), connect_timeout=postgres.CONNECT_LIMIT, row_factory=dict_row
        ) as connection,
        connection.cursor("nilo_window_rows") as cursor,
    ):
        try:
            cursor.execute(query, values)
        except psycopg.errors.UndefinedTable:
            return
        while rows := cursor.fetchmany(_ROWS):
            yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def window_rows_parquet(
    settings: Settings,
    kinds: Collection[Kind],
    since: datetime,
    until: datetime,
    labels: Mapping[str, str],
) -> Iterator[pa.RecordBatch]:
    """As `window_rows_postgres`, from the Delta table."""
    table = existing_table(settings, WINDOWS)
    if table is None:
        return
    wanted = text_field("metric").isin(sorted({metric for metric, _ in kinds}))
    wanted &= text_field("window").isin(sorted({length for _, length in kinds})) & pc.field("final")
    wanted &= (pc.field("window_end") > _time(since)) & (pc.field("window_end") <= _time(until))
    with translated("reading windows"):
        for batch in dataset(table).to_batches(columns=COLUMNS, filter=wanted, batch_size=_ROWS):
            rows = pa.Table.from_batches([batch]).cast(SCHEMA).combine_chunks().to_batches()
            yield from (_of_series(each, labels) for each in rows)


WINDOW_ROWS: Mapping[str, Read] = {
    "postgres": window_rows_postgres,
    "parquet": window_rows_parquet,
}


def _begin(kinds: Collection[Kind], since: datetime) -> datetime:
    """When windows of these kinds begin at the earliest that end after a time.

    Days before need not be looked through. Sessions may have begun at any time.
    """
    windows = [parse_window(length) for _, length in kinds]
    if any(window.kind == "session" for window in windows):
        return datetime.min.replace(tzinfo=since.tzinfo)
    return since - max((window.length for window in windows), default=timedelta(0))


def _of_series(batch: pa.RecordBatch, labels: Mapping[str, str]) -> pa.RecordBatch:
    for name, value in labels.items():
        found = pc.map_lookup(batch["dimensions"], pa.scalar(name), "first")
        batch = batch.filter(pc.fill_null(pc.equal(found, value), False))
    return batch


def _time(value: datetime) -> pa.Scalar:
    return pa.scalar(value, pa.timestamp("us", "UTC"))
