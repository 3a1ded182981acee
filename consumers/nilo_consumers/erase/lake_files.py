"""The files in a table's folder that its newest version does not have: do they hold the subject?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyarrow.fs import FileSelector

from nilo_consumers.erase.subject import column, in_columns
from nilo_consumers.lake_care import KEEP

_LOG = "_delta_log/"


@dataclass(frozen=True)
class Beside:
    """A file that holds rows of the subject beside the newest version.

    Args:
        path: within the table's folder.
        rows: the subject's.
        written_at: when.
        replaced: the log says that it was removed: compaction, the archive or an erasure did it.
            Else a writer has not committed it yet, or never will because it was killed.
    """

    path: str
    rows: int
    written_at: datetime
    replaced: bool

    @property
    def old(self) -> bool:
        """Whether no writer can come back to it: it was written so long ago, and not committed."""
        return not self.replaced and self.written_at + KEEP < datetime.now(UTC)

    def told(self) -> str:
        """Why it is there, and what takes it away."""
        if self.replaced:
            return f"{self.path} was replaced and is not vacuumed: run `nilo erase` again"
        over = self.written_at + KEEP
        return (
            f"{self.path} is not committed: a writer is at it, and run again takes its rows; or it "
            f"was killed, and `nilo erase` deletes the file from {over:%Y-%m-%d %H:%M} on"
        )

    def delete(self, table: DeltaTable) -> None:
        """Delete the file."""
        table.to_pyarrow_dataset().filesystem.delete_file(self.path)


def held_beside(table: DeltaTable, topic: str, subject: str) -> list[Beside]:
    """The files beside the newest version that hold rows of a subject; `table` moves to it.

    Raises:
        OSError: the lake does not answer.
        pyarrow.ArrowInvalid: a file is no Parquet file.
    """
    files = table.to_pyarrow_dataset().filesystem
    # In this order: what a sink commits meanwhile is in the version, and not beside it.
    there = {info.path: info for info in _parquet_files(files)}
    table.update_incremental()
    known = {fragment.path for fragment in table.to_pyarrow_dataset().get_fragments()}
    replaced = set(table.vacuum(0, dry_run=True, enforce_retention_duration=False))
    found = [
        Beside(path, _rows(files, path, topic, subject), there[path].mtime, path in replaced)
        for path in sorted(there.keys() - known)
    ]
    return [each for each in found if each.rows]


def _parquet_files(files: Any) -> Iterator[Any]:
    for info in files.get_file_info(FileSelector("", recursive=True)):
        if info.path.endswith(".parquet") and not info.path.startswith(_LOG):
            yield info


def _rows(files: Any, path: str, topic: str, subject: str) -> int:
    theirs = in_columns(topic, subject)
    try:
        with files.open_input_file(path) as opened:
            batches = pq.ParquetFile(opened).iter_batches(columns=[column(topic)])
            return sum(int(theirs(batch).sum()) for batch in batches)
    except FileNotFoundError:
        return 0  # vacuumed meanwhile
