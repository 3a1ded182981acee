"""The events of a partition out of the Delta table, row group by row group."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nilo_consumers.batch import OFFSET, ORIGIN, PARTITION, STAMP
from nilo_consumers.events import Family
from nilo_consumers.history.runs import Run, Wanted, in_order
from nilo_consumers.lake import EVENT_DATE, dataset, existing_table, translated
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.settings import Settings

# Partitions are read side by side, and a row group has rows of all of them.
_HELD = 3


def stretch_of_lake(settings: Settings, family: Family, wanted: Wanted) -> Iterator[pa.Table]:
    """The events that are wanted, in order of their offsets.

    Their columns are the family's and where they came from. A row group of each file that may have
    the next offset is in memory.

    Raises:
        StoreUnavailableError: the lake does not answer, or lacks a file.
    """
    table = existing_table(settings, family.kafka_topic)
    if table is None:
        return
    day = pc.field(EVENT_DATE) >= wanted.since.astimezone(UTC).date()
    asked = (pc.field(OFFSET) >= wanted.first) & (pc.field(OFFSET) < wanted.stop)
    with translated(f"reading {family.kafka_topic}"):
        fragments = dataset(table).get_fragments(filter=asked & day)
        groups = [each for one in fragments for each in one.split_by_row_group(asked)]
        runs = [
            Run(_least(group), lambda group=group: [_rows(group, family, wanted.partition, asked)])  # type: ignore[misc]  # a default is bound now
            for group in groups
        ]
        yield from in_order(runs)


def extents_of_lake(
    settings: Settings, topic: str, since: datetime | None
) -> dict[int, tuple[int, int]]:
    """By partition the offsets `[first, stop)` between which the lake's events lie.

    Args:
        settings: where the lake is.
        topic: without prefix.
        since: only days from this time on.

    Raises:
        StoreUnavailableError: the lake does not answer, or lacks a file.
    """
    table = existing_table(settings, topic)
    if table is None:
        return {}
    wanted = None if since is None else pc.field(EVENT_DATE) >= since.astimezone(UTC).date()
    found: dict[int, tuple[int, int]] = {}
    with translated(f"reading {topic}"):
        batches = dataset(table).to_batches(columns=[PARTITION, OFFSET], filter=wanted)
        for batch in batches:
            ends = pa.Table.from_batches([batch]).group_by(PARTITION)
            for row in ends.aggregate([(OFFSET, "min"), (OFFSET, "max")]).to_pylist():
                low, high = row[f"{OFFSET}_min"], row[f"{OFFSET}_max"] + 1
                first, stop = found.get(row[PARTITION], (low, high))
                found[row[PARTITION]] = min(first, low), max(stop, high)
    return found


def _least(group: Any) -> int:
    told = group.row_groups[0].statistics or {}
    return int(told[OFFSET]["min"]) if OFFSET in told else 0


def _rows(group: Any, family: Family, partition: int, asked: pc.Expression) -> pa.Table:
    rows = _by_partition(_Group(group, family)).get(partition)
    return _schema(family).empty_table() if rows is None else rows.filter(asked)


class _Group:
    """A row group, equal to itself read anew."""

    def __init__(self, fragment: Any, family: Family) -> None:
        self.fragment, self.family = fragment, family
        self._name = fragment.path, fragment.row_groups[0].id

    def __hash__(self) -> int:
        return hash(self._name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Group) and self._name == other._name


@lru_cache(_HELD)
def _by_partition(group: _Group) -> dict[int, pa.Table]:
    """The rows of each partition in order of their offsets."""
    schema = _schema(group.family)
    names = [name for name in schema.names if name in group.fragment.physical_schema.names]
    rows = group.fragment.to_table(columns=names)
    columns = [
        rows[field.name].cast(field.type)
        if field.name in names
        else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    rows = pa.Table.from_arrays(columns, schema=schema).sort_by(OFFSET)
    numbers = pc.unique(rows[PARTITION]).to_pylist()
    return {number: rows.filter(pc.field(PARTITION) == number) for number in numbers}


def _schema(family: Family) -> pa.Schema:
    return pa.schema([*arrow_schema(family), *ORIGIN, STAMP])
