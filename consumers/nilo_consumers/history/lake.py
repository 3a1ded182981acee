"""The events of a partition out of the Delta table, row group by row group."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.events import Family
from nilo_consumers.history.runs import Run, Wanted, in_order
from nilo_consumers.lake import EVENT_DATE, dataset, existing_table, translated
from nilo_schemas.settings import Settings

# Partitions are read side by side, and a row group has rows of all of them.
_HELD = 3


def stretch_of_lake(settings: Settings, family: Family, wanted: Wanted) -> Iterator[pa.Table]:
    """The events that are wanted, in order of their offsets.

    Their columns are the fields and where they came from. A row group of each file that may have
    the next offset is in memory.

    Raises:
        StoreUnavailableError: the lake does not answer, or lacks a file.
    """
    table = existing_table(settings, family.kafka_topic)
    if table is None:
        return
    day = pc.field(EVENT_DATE) >= wanted.since.astimezone(UTC).date()
    asked = (pc.field(OFFSET) >= wanted.first) & (pc.field(OFFSET) < wanted.stop)
    schema = wanted.schema(family)
    with translated(f"reading {family.kafka_topic}"):
        fragments = dataset(table).get_fragments(filter=asked & day)
        groups = [each for one in fragments for each in one.split_by_row_group(asked)]
        runs = [
            Run(_least(group), lambda group=group: [_rows(_Group(group, schema), wanted)])  # type: ignore[misc]  # a default is bound now
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


def _rows(group: _Group, wanted: Wanted) -> pa.Table:
    rows = _by_partition(group).get(wanted.partition)
    if rows is None:
        return group.schema.empty_table()
    first, stop = np.searchsorted(rows[OFFSET].to_numpy(), (wanted.first, wanted.stop))
    return rows.slice(first, stop - first)


class _Group:
    """A row group of which these columns are wanted, equal to itself read anew."""

    def __init__(self, fragment: Any, schema: pa.Schema) -> None:
        self.fragment, self.schema = fragment, schema
        self._name = fragment.path, fragment.row_groups[0].id, tuple(schema.names)

    def __hash__(self) -> int:
        return hash(self._name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Group) and self._name == other._name


@lru_cache(_HELD)
def _by_partition(group: _Group) -> dict[int, pa.Table]:
    """The rows of each partition in order of their offsets."""
    there = group.fragment.physical_schema.names
    rows = group.fragment.to_table(columns=[name for name in group.schema.names if name in there])
    columns = [
        rows[field.name].cast(field.type)
        if field.name in there
        else pa.nulls(rows.num_rows, field.type)
        for field in group.schema
    ]
    rows = pa.Table.from_arrays(columns, schema=group.schema)
    partitions, offsets = rows[PARTITION].to_numpy(), rows[OFFSET].to_numpy()
    order = np.lexsort((offsets, partitions))
    rows = rows.take(pa.array(order))
    numbers, firsts, counts = np.unique(partitions[order], return_index=True, return_counts=True)
    return {
        number: rows.slice(first, count)
        for number, first, count in zip(
            *map(np.ndarray.tolist, (numbers, firsts, counts)), strict=True
        )
    }
