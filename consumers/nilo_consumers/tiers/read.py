"""Read the archive back: the rows of a day in their canonical order, and events that are wanted."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, date
from typing import Any

from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.events import Family, Selection, Values
from nilo_consumers.tiers import archive
from nilo_consumers.tiers.manifest import Entry, Manifest
from nilo_schemas.settings import Settings


def archived_days(settings: Settings, topic: str) -> list[date]:
    """The days that the archive has of a topic (without prefix); raises StoreError."""
    return sorted({each.event_date for each in archived_files(settings, topic) if each.event_date})


def archived_rows(settings: Settings, topic: str, day: date) -> Iterator[Values]:
    """The rows of a day of a topic (without prefix) in order of partition and offset.

    They have the fields of the contract that was in force when the file was written, and
    `kafka_partition` and `kafka_offset`.

    Raises:
        StoreError: the manifest cannot be read, or a file is damaged.
        OSError: a file is not there.
    """
    files = [each for each in archived_files(settings, topic) if each.event_date == day]
    rows = [archive.read(settings.archive_location / each.path) for each in files]
    yield from heapq.merge(*rows, key=lambda row: (row[PARTITION], row[OFFSET]))


def events_archive(settings: Settings, family: Family, wanted: Selection) -> Iterator[Values]:
    """The values of a family's events as Avro carries them; raises as `archived_rows` does."""
    topic, names = family.kafka_topic, set(family.model_fields)
    for day in archived_days(settings, topic):
        if _may_hold(day, wanted):
            for row in archived_rows(settings, topic, day):
                if _wants(wanted, row):
                    yield {name: value for name, value in row.items() if name in names}


def archived_files(settings: Settings, topic: str) -> list[Entry]:
    """The files of a topic (without prefix) that count; raises StoreError."""
    lines = Manifest(settings).entries(topic)
    return [each for each in lines if each.tier == "cold" and not each.removed_at]


def _may_hold(day: date, wanted: Selection) -> bool:
    """Whether events of a day (UTC) may lie in the times that are wanted."""
    since, until = (each and each.astimezone(UTC).date() for each in (wanted.since, wanted.until))
    return not (since and day < since) and not (until and day > until)


def _wants(wanted: Selection, row: dict[str, Any]) -> bool:
    if wanted.since and row["time"] < wanted.since:
        return False
    if wanted.until and row["time"] >= wanted.until:
        return False
    return all(row[column] in values for column, values in wanted.lists().items())
