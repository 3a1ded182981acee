"""What a store holds of a stream, beside what was sent."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.dataset as ds
from psycopg import sql

from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.lake import existing_table
from nilo_consumers.tables import table_name
from nilo_schemas.settings import Settings
from tests.bench.calls import VARIANTS, variants
from tests.bench.servers import BenchError
from tests.bench.stream import Stream
from tests.bench.topic import TOPIC

ORIGIN = (PARTITION, OFFSET)
VALUE = "input_tokens"


@dataclass(frozen=True)
class Stored:
    """Rows, how many of them are distinct (by offset, or by id), and the sum of their tokens."""

    rows: int
    distinct: int
    tokens: int

    def differences(self, stream: Stream) -> int:
        """How many rows (or tokens) are missing or too many."""
        wanted = sent(stream)
        return sum(
            abs(getattr(self, each.name) - getattr(wanted, each.name)) for each in fields(self)
        )


def sent(stream: Stream) -> Stored:
    """What a store must hold."""
    tokens = np.array([event.input_tokens for event in variants()], np.int64)
    total = tokens[np.arange(stream.events, dtype=np.int64) % VARIANTS].sum()
    return Stored(stream.events, stream.events, int(total))


def in_postgres(settings: Settings, key: tuple[str, ...]) -> Stored:
    """What the table of the events holds; `key` are the columns by which its rows differ."""
    query = sql.SQL(
        "SELECT coalesce(sum(rows), 0), count(*), coalesce(sum(tokens), 0) FROM"
        " (SELECT count(*) AS rows, sum({}) AS tokens FROM {} GROUP BY {}) AS each"
    ).format(
        sql.Identifier(VALUE),
        sql.Identifier(settings.database_schema, table_name(TOPIC)),
        sql.SQL(", ").join(map(sql.Identifier, key)),
    )
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        found = connection.execute(query).fetchone()
    if found is None:
        raise BenchError(f"the table of {TOPIC} tells nothing")
    return Stored(*(int(each) for each in found))


def in_lake(settings: Settings) -> Stored:
    """What the Delta table of the events holds."""
    table = existing_table(settings, TOPIC)
    if table is None:
        raise BenchError(f"{settings.lake_location} has no table of {TOPIC}")
    return _counted(table.to_pyarrow_dataset(), ORIGIN)


def in_files(settings: Settings, key: tuple[str, ...]) -> Stored:
    """What the Parquet files in the folder of the lake hold; `key` as in `in_postgres`."""
    return _counted(ds.dataset(settings.lake_location, format="parquet"), key)


def _counted(rows: Any, key: tuple[str, ...]) -> Stored:
    table: pa.Table = rows.to_table(columns=[*key, VALUE])
    groups = table.group_by(list(key)).aggregate([(VALUE, "sum")])
    tokens = sum(groups.column(f"{VALUE}_sum").to_pylist())
    return Stored(table.num_rows, groups.num_rows, tokens)
