"""Care of the lake: few files made of many, and what nobody needs any more removed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from nilo_consumers.lake import existing_table, translated, writer_properties
from nilo_schemas.settings import Settings

FILE_BYTES = 128 * 1024 * 1024
# A reader that began before a compaction may read the old files for so long.
KEEP = timedelta(days=7)


@dataclass(frozen=True)
class Compacted:
    """What one table came to: its number of files, and the bytes that were written anew."""

    topic: str
    files_before: int
    files: int
    rewritten_bytes: int


@dataclass(frozen=True)
class Vacuumed:
    """A file that no version of its table needs that is younger than the time to keep."""

    topic: str
    path: str


def compact(settings: Settings, topics: Iterable[str]) -> Iterator[Compacted]:
    """Make few files of many, of each day of each topic that has a table; rows stay as they are.

    A sink may write meanwhile. The old files stay until `vacuum`.

    Args:
        topics: without prefix.

    Raises:
        StoreError: the lake does not answer, or refuses it.
    """
    for topic in topics:
        table = existing_table(settings, topic)
        if table is None:
            continue
        before = len(table.file_uris())
        with translated(f"compacting {topic}"):
            done = table.optimize.compact(
                target_size=FILE_BYTES, writer_properties=writer_properties(topic)
            )
            table.update_incremental()
        added = json.loads(done["filesAdded"])["totalSize"]
        yield Compacted(topic, before, len(table.file_uris()), added)


def vacuum(
    settings: Settings, topics: Iterable[str], *, keep: timedelta = KEEP, dry_run: bool
) -> Iterator[Vacuumed]:
    """Remove the files that the tables do not need any more; `dry_run` only tells them.

    Args:
        topics: without prefix.
        keep: what was in use so lately stays, in whole hours: for readers that began before.

    Raises:
        StoreError: the lake does not answer, or refuses it.
    """
    for topic in topics:
        table = existing_table(settings, topic)
        if table is None:
            continue
        with translated(f"vacuuming {topic}"):
            paths = table.vacuum(
                int(keep.total_seconds() // 3600),
                dry_run=dry_run,
                enforce_retention_duration=False,
            )
        yield from (Vacuumed(topic, path) for path in paths)
