"""The table `storage_manifest`: which file or partition holds what, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from nilo_consumers.audit.spans import Spans, union
from nilo_consumers.batch import Span
from nilo_consumers.lake import dataset, translated
from nilo_schemas.settings import Settings

TABLE = "storage_manifest"
EXPIRED, ERASED = "expired", "erased"
_TIME = pa.timestamp("us", "UTC")
_STRETCH = pa.struct(
    [("partition", pa.int32()), ("first", pa.int64()), ("last", pa.int64()), ("rows", pa.int64())]
)
_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), False),
        pa.field("tier", pa.string(), False),
        pa.field("topic", pa.string(), False),
        pa.field("event_date", pa.date32()),
        pa.field("rows", pa.int64(), False),
        pa.field("bytes", pa.int64(), False),
        pa.field("offsets", pa.list_(_STRETCH), False),
        pa.field("sha256", pa.string()),
        pa.field("made_at", _TIME, False),
        pa.field("expires_on", pa.date32()),
        pa.field("removed_at", _TIME),
        pa.field("reason", pa.string()),
    ]
)
Stretches = tuple[tuple[int, Span], ...]


@dataclass(frozen=True)
class Entry:
    """A line of the manifest.

    Args:
        path: of a file, within the lake or the archive; of a partition its name.
        tier: hot (only what was dropped), warm or cold.
        topic: without prefix.
        event_date: its UTC day; None: several.
        rows: how many.
        size: bytes.
        offsets: partition and stretch of offsets of the rows; none is left out or too much.
        sha256: of the file.
        made_at: when the line was written.
        expires_on: the first day on which it leaves its tier.
        removed_at: since when it counts no more; None: it counts.
        reason: why it does not count.
    """

    path: str
    tier: str
    topic: str
    event_date: date | None
    rows: int
    size: int
    offsets: Stretches
    sha256: str | None
    made_at: datetime
    expires_on: date | None = None
    removed_at: datetime | None = None
    reason: str | None = None


def now() -> datetime:
    """The time of a line."""
    return datetime.now(UTC)


def by_partition(entries: Iterable[Entry]) -> dict[int, list[Span]]:
    """The stretches of all entries, by partition; rows that are in several overlap."""
    found: dict[int, list[Span]] = {}
    for each in entries:
        for partition, span in each.offsets:
            found.setdefault(partition, []).append(span)
    return found


def expired(entries: Iterable[Entry], tier: str) -> dict[int, Spans]:
    """The offsets whose rows left this tier because their time was over."""
    gone = (each for each in entries if each.reason == EXPIRED and each.tier == tier)
    return {number: union(spans) for number, spans in by_partition(gone).items()}


def erased(entries: Iterable[Entry]) -> dict[int, Spans]:
    """The offsets whose rows `nilo erase` took out of the lake and the archive."""
    gone = by_partition(each for each in entries if each.reason == ERASED)
    return {number: union(spans) for number, spans in gone.items()}


class Manifest:
    """Reads and writes the table; one process writes at a time.

    All methods raise StoreError when the lake does not answer or refuses.
    """

    def __init__(self, settings: Settings) -> None:
        self._location = f"{settings.lake_location.rstrip('/')}/{TABLE}"

    def entries(self, topic: str) -> list[Entry]:
        """All lines of a topic (without prefix), those that count no more too."""
        with translated("reading the manifest"):
            if not DeltaTable.is_deltatable(self._location):
                return []
            found = dataset(DeltaTable(self._location))
            rows = found.to_table(filter=pc.field("topic") == topic)
        return [_entry(row) for row in rows.to_pylist()]

    def add(self, entries: Sequence[Entry]) -> None:
        """Add lines, in one commit."""
        if entries:
            with translated("writing the manifest"):
                write_deltalake(
                    self._location, _rows(entries), mode="append", partition_by=["topic"]
                )

    def replace(self, topic: str, entries: Sequence[Entry]) -> None:
        """Have these lines instead of those of a topic, in one commit; nothing without a table."""
        with translated("writing the manifest"):
            if not DeltaTable.is_deltatable(self._location):
                return
            write_deltalake(
                self._location, _rows(entries), mode="overwrite", predicate=f"topic = '{topic}'"
            )


def _rows(entries: Sequence[Entry]) -> pa.Table:
    return pa.Table.from_pylist([_row(each) for each in entries], _SCHEMA)


def _row(each: Entry) -> dict[str, object]:
    offsets = [
        {"partition": number, "first": s.start, "last": s.end - 1, "rows": s.end - s.start}
        for number, s in each.offsets
    ]
    return {name: getattr(each, name, None) for name in _SCHEMA.names} | {
        "bytes": each.size,
        "offsets": offsets,
    }


def _entry(row: dict[str, Any]) -> Entry:
    offsets = tuple(
        (each["partition"], Span(each["first"], each["last"] + 1)) for each in row.pop("offsets")
    )
    return Entry(size=row.pop("bytes"), offsets=offsets, **row)
