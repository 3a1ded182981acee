"""The table `windows_expired`: which windows a run has taken out of which store.

Not in the manifest: that names every offset, and those of one length lie between those of others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.lake import dataset, translated
from nilo_consumers.tiers.manifest import now
from nilo_consumers.tiers.windows.plan import Removal
from nilo_schemas.settings import Settings

TABLE = "windows_expired"
_END = pa.struct([("partition", pa.int32()), ("next_offset", pa.int64())])
_SCHEMA = pa.schema(
    [
        pa.field("store", pa.string(), False),
        pa.field("event_date", pa.date32(), False),
        pa.field("window", pa.string(), False),
        pa.field("metrics", pa.list_(pa.string()), False),
        pa.field("ends", pa.list_(_END), False),
        pa.field("rows", pa.int64(), False),
        pa.field("removed_at", pa.timestamp("us", "UTC"), False),
    ]
)


@dataclass(frozen=True)
class Removed:
    """What runs have taken out of one store."""

    by_kind: Mapping[tuple[str, date], Sequence[Removal]]

    def has(self, row: Mapping[str, Any]) -> bool:
        """Whether a window, with where it came from, is among it."""
        begin: datetime = row["window_start"]
        kind = row["window"], begin.astimezone(UTC).date()
        return any(
            row["metric"] in each.metrics and row[OFFSET] < each.ends.get(row[PARTITION], 0)
            for each in self.by_kind.get(kind, ())
        )


class Record:
    """Reads and writes the table; one process writes at a time.

    All methods raise StoreError when the lake does not answer or refuses.
    """

    def __init__(self, settings: Settings) -> None:
        self._location = f"{settings.lake_location.rstrip('/')}/{TABLE}"

    def removed(self, store: str) -> Removed:
        """All that left a store."""
        found: dict[tuple[str, date], list[Removal]] = {}
        for each in self._lines(store):
            found.setdefault((each.window, each.day), []).append(each)
        return Removed(found)

    def add(self, store: str, removals: Sequence[Removal]) -> None:
        """Note in one commit what is about to leave a store, unless a killed run has noted it."""
        known = self._lines(store, {each.day for each in removals})
        new = [each for each in removals if each not in known]
        if new:
            with translated("writing which windows expired"):
                write_deltalake(self._location, _rows(store, new), mode="append")

    def _lines(self, store: str, days: Iterable[date] | None = None) -> list[Removal]:
        wanted = pc.field("store") == store
        if days is not None:
            wanted &= pc.field("event_date").isin(list(days))
        with translated("reading which windows expired"):
            if not DeltaTable.is_deltatable(self._location):
                return []
            rows = dataset(DeltaTable(self._location)).to_table(filter=wanted)
        return [_removal(row) for row in rows.to_pylist()]


def _rows(store: str, removals: Sequence[Removal]) -> pa.Table:
    at = now()
    return pa.Table.from_pylist(
        [
            {
                "store": store,
                "event_date": each.day,
                "window": each.window,
                "metrics": list(each.metrics),
                "ends": [{"partition": p, "next_offset": end} for p, end in each.ends.items()],
                "rows": each.rows,
                "removed_at": at,
            }
            for each in removals
        ],
        _SCHEMA,
    )


def _removal(row: Mapping[str, Any]) -> Removal:
    ends = {each["partition"]: each["next_offset"] for each in row["ends"]}
    return Removal(row["event_date"], row["window"], tuple(row["metrics"]), row["rows"], ends)
