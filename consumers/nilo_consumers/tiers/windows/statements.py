"""What is asked of both stores, in SQL that PostgreSQL and the lake's DataFusion understand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import LiteralString

from nilo_consumers.tiers.windows.plan import Group

# By day, length, metric and partition: how many rows, and the offset behind the last.
GROUPS: LiteralString = """
    SELECT {day}, "window", metric, kafka_partition, count(*), max(kafka_offset) + 1
    FROM {table} WHERE {within} GROUP BY 1, 2, 3, 4"""
# The metrics of windows that begin in no longer one.
UNCOVERED: LiteralString = """
    SELECT DISTINCT metric FROM (
        SELECT DISTINCT metric, dimensions,
               date_bin(interval {hop}, window_start, to_timestamp(0)) AS start
        FROM {table} WHERE {within} AND "window" = {window} AND metric IN ({metrics})
    ) AS short
    WHERE NOT EXISTS (
        SELECT 1 FROM {table} AS long
        WHERE {reach} AND long."window" = {longer} AND long.metric = short.metric
        AND long.window_start = short.start AND long.dimensions = short.dimensions)"""
Row = tuple[date, str, str, int, int, int]


def gathered(rows: Iterable[Row]) -> list[Group]:
    """The rows of GROUPS, those of all partitions together."""
    found: dict[tuple[date, str, str], tuple[int, dict[int, int]]] = {}
    for day, window, metric, partition, number, end in rows:
        before, ends = found.get((day, window, metric), (0, {}))
        found[day, window, metric] = before + number, ends | {partition: end}
    return [Group(*key, *value) for key, value in found.items()]
