"""The files in a table's folder that its newest version does not have: do they hold the subject?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyarrow.fs import FileSelector

from nilo_consumers.audit.spans import Spans, stretches, union
from nilo_consumers.audit.spans import count as number_of
from nilo_consumers.batch import Span
from nilo_consumers.erase.subject import PLACES, column, places_of
from nilo_consumers.lake import dataset

_LOG = "_delta_log/"
# So deltalake calls a file until it is whole.
_UNFINISHED = "*/*.parquet#*"
_AT_WORK = 600.0  # seconds


@dataclass(frozen=True)
class Beside:
    """A file that holds rows of the subject beside the newest version.

    Args:
        path: within the table's folder.
        places: the offsets of the subject's rows, by partition.
        replaced: the log says that it was removed: compaction, the archive or an erasure did it.
            Else a writer has not committed it: it is at it, has lost a race, or was killed.
    """

    path: str
    places: dict[int, Spans]
    replaced: bool

    @property
    def rows(self) -> int:
        """How many rows of the subject it holds."""
        return sum(map(number_of, self.places.values()))

    def delete(self, table: DeltaTable) -> None:
        """Delete the file."""
        dataset(table).filesystem.delete_file(self.path)


def held_beside(table: DeltaTable, topic: str, subject: str) -> list[Beside]:
    """The files beside the newest version that hold rows of a subject; `table` moves to it.

    Raises:
        OSError: the lake does not answer.
        pyarrow.ArrowInvalid: a file is no Parquet file.
    """
    files = dataset(table).filesystem
    # In this order: what a sink commits meanwhile is in the version, and not beside it.
    there = set(_parquet_files(files))
    table.update_incremental()
    known = {fragment.path for fragment in dataset(table).get_fragments()}
    replaced = set(table.vacuum(0, dry_run=True, enforce_retention_duration=False))
    found = [
        Beside(path, _places(files, path, topic, subject), path in replaced)
        for path in sorted(there - known)
    ]
    return [each for each in found if each.places]


def unfinished(location: str) -> list[Path]:
    """What writers that were killed have left in a lake in a folder, before it got its name.

    It cannot be looked into. A writer that is at work gives its file its name within seconds.
    """
    if "://" in location:
        return []
    found = Path(location).glob(_UNFINISHED)
    return sorted(path for path in found if time.time() - path.stat().st_mtime > _AT_WORK)


def _parquet_files(files: Any) -> Iterator[str]:
    for info in files.get_file_info(FileSelector("", recursive=True)):
        if info.path.endswith(".parquet") and not info.path.startswith(_LOG):
            yield info.path


def _places(files: Any, path: str, topic: str, subject: str) -> dict[int, Spans]:
    columns, found = [*PLACES.names, column(topic)], dict[int, list[Span]]()
    try:
        with files.open_input_file(path) as opened:
            batches = pq.ParquetFile(opened).iter_batches(columns=columns)
            places = places_of(topic, subject, batches)
    except FileNotFoundError:
        return {}  # vacuumed meanwhile
    for number, span in stretches(places):
        found.setdefault(number, []).append(span)
    return {number: union(spans) for number, spans in found.items()}
