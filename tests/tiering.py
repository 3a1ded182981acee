"""Events of the lake's days and what the tiers make of them, for tests without servers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa

from nilo_consumers.batch import ORIGIN, Batch, Span
from nilo_consumers.delta import DeltaSink
from nilo_consumers.lake import existing_table
from nilo_consumers.tiers.manifest import Entry, Manifest
from nilo_consumers.tiers.run import run
from nilo_consumers.tiers.told import Step
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings

LLM = "events.llm"
TODAY = date(2026, 6, 30)
OLD, OLDER, NEW = date(2026, 5, 1), date(2026, 4, 1), date(2026, 6, 29)
PARTITIONS = 2
ALL = [(partition, offset) for partition in range(PARTITIONS) for offset in range(70)]
"""The places of what `filled` writes."""


def tiered(folder: Path) -> Settings:
    """Only the lake and the archive; ten warm days, 100 cold ones."""
    return Settings(home=folder, lake=str(folder / "lake"), warm_days=10, cold_days=100, hot_days=5)


def rows_of(number: int, day: date, partition: int, start: int) -> list[dict[str, Any]]:
    """Events of a day with the offsets from `start`, the values of which differ."""
    plain = LlmEvent(type="llm.call", source="test").to_avro() | {"severity": "INFO"}
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return [
        plain | {
            "id": f"{partition}-{offset}",
            "time": noon + timedelta(microseconds=offset),
            "duration": offset,
            "attributes": [("number", str(offset)), ("é", '"')],
            "kafka_partition": partition,
            "kafka_offset": offset,
        }
        for offset in range(start, start + number)
    ]  # fmt: skip


def write(settings: Settings, rows: Sequence[dict[str, Any]]) -> None:
    """As the sink of the lake writes a batch."""
    sink, topic = DeltaSink(settings), settings.topic_prefix + LLM
    sink.connect([(topic, number) for number in range(PARTITIONS)])
    table = pa.Table.from_pylist(list(rows), pa.schema([*arrow_schema(LlmEvent), *ORIGIN]))
    spans: dict[int, Span] = {}
    for row in rows:
        number, offset = row["kafka_partition"], row["kafka_offset"]
        first = spans.get(number, Span(offset, offset))
        spans[number] = Span(min(first.start, offset), max(first.end, offset + 1))
    sink.write(Batch(topic, table, spans))
    sink.close()


def filled(settings: Settings) -> None:
    """Three days, out of order and over two partitions: 140 rows."""
    for partition in range(PARTITIONS):
        write(settings, rows_of(20, OLD, partition, 0)[::-1] + rows_of(20, NEW, partition, 20))
        write(settings, rows_of(10, OLDER, partition, 40) + rows_of(20, OLD, partition, 50))


def moved(settings: Settings, today: date = TODAY, *, dry_run: bool = False) -> list[Step]:
    """The steps of a run."""
    return list(run(settings, [LLM], today, dry_run=dry_run))


def lines(settings: Settings, tier: str) -> list[Entry]:
    """The lines of the manifest of a tier."""
    return [each for each in Manifest(settings).entries(LLM) if each.tier == tier]


def in_lake(settings: Settings) -> list[tuple[int, int]]:
    """Partition and offset of each row in the lake."""
    table = existing_table(settings, LLM)
    assert table is not None
    rows = table.to_pyarrow_dataset().to_table(columns=["kafka_partition", "kafka_offset"])
    return [(row["kafka_partition"], row["kafka_offset"]) for row in rows.to_pylist()]


def in_archive(settings: Settings) -> list[tuple[int, int]]:
    """What the files that count hold, read by the Avro library itself."""
    found = []
    for each in lines(settings, "cold"):
        if not each.removed_at:
            with (settings.archive_location / each.path).open("rb") as file:
                rows: Any = fastavro.reader(file)
                found += [(row["kafka_partition"], row["kafka_offset"]) for row in rows]
    return found
