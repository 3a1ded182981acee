"""Which places of Kafka have a row in a store: asked for a few hundred at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Any, LiteralString

import psycopg
import pyarrow.compute as pc
from deltalake import DeltaTable
from psycopg import sql

from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.lake import dataset
from nilo_consumers.sqlite_tables import quoted

Place = tuple[int, int]
_POSTGRES: LiteralString = """
    SELECT kafka_partition, kafka_offset FROM {}
    JOIN unnest(%s::integer[], %s::bigint[]) AS asked(number, place)
    ON kafka_partition = number AND kafka_offset = place"""
_SQLITE = "SELECT 1 FROM {} WHERE kafka_partition = ? AND kafka_offset = ?"


def in_postgres(
    connection: psycopg.Connection[Any], table: sql.Identifier, places: Collection[Place]
) -> set[Place]:
    """Those of the places (partition and offset) that have a row."""
    numbers, offsets = ([place[column] for place in places] for column in (0, 1))
    found = connection.execute(sql.SQL(_POSTGRES).format(table), [numbers, offsets])
    return set(found.fetchall())


def in_sqlite(connection: sqlite3.Connection, table: str, places: Collection[Place]) -> set[Place]:
    """The same."""
    query = _SQLITE.format(quoted(table))
    return {place for place in places if connection.execute(query, place).fetchone()}


def in_lake(table: DeltaTable, places: Collection[Place]) -> set[Place]:
    """The same; the statistics of files say which have to be read."""
    found: set[Place] = set()
    for number in {number for number, _ in places}:
        offsets = [offset for each, offset in places if each == number]
        inside = (pc.field(OFFSET) >= min(offsets)) & (pc.field(OFFSET) <= max(offsets))
        wanted = (pc.field(PARTITION) == number) & inside & pc.field(OFFSET).isin(offsets)
        rows = dataset(table).to_table([OFFSET], filter=wanted)
        found |= {(number, offset) for offset in rows[OFFSET].to_pylist()}
    return found
