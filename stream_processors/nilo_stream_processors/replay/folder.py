"""The folder of a replay: what it is of, how far it is, and what came of it.

manifest.json       what it is of; written once
checkpoint.arrow    how far it is, with all state; replaced whole
windows-00001.parquet, alerts-00001.jsonl   results, a pair of files for each checkpoint
summary.json        when it is done: how many events, windows, alerts; up to when rules looked
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from nilo_schemas.alerts import Alert
from nilo_schemas.errors import NiloError
from nilo_schemas.locks import locked
from nilo_stream_processors.blobs import SCHEMA, packed, unpacked
from nilo_stream_processors.replay.manifest import Manifest

_MANIFEST, _CHECKPOINT, _SUMMARY = "manifest.json", "checkpoint.arrow", "summary.json"
_LOCK, _HEADER = ".lock", b"nilo.checkpoint"
Named = tuple[str, pa.RecordBatch]


class FolderError(NiloError):
    """A folder is not that of a replay, or not readable."""


@dataclass(frozen=True)
class Folder:
    """Reads and writes the files of one replay."""

    path: Path

    def create(self, manifest: Manifest) -> None:
        """Make it; raises FolderError when there is a replay in it already."""
        if (self.path / _MANIFEST).exists():
            raise FolderError(f"{self.path} holds a replay already: choose another folder")
        self.path.mkdir(parents=True, exist_ok=True)
        self._replace(_MANIFEST, manifest.model_dump_json(indent=1).encode())

    def manifest(self) -> Manifest:
        """What it is of; raises FolderError."""
        try:
            return Manifest.model_validate_json((self.path / _MANIFEST).read_text())
        except FileNotFoundError:
            raise FolderError(
                f"{self.path} holds no replay; `nilo replay list` shows those that there are"
            ) from None
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            why = str(error).splitlines()[0]
            raise FolderError(f"{self.path / _MANIFEST} is not readable: {why}") from None

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else runs it meanwhile; entering raises FolderError when somebody does already."""
        return locked(
            self.path / _LOCK, FolderError(f"the replay in {self.path} is running already")
        )

    # Results

    def part(self, number: int) -> tuple[Path, Path]:
        """The files of the results of a checkpoint: windows, alerts."""
        return self.path / f"windows-{number:05}.parquet", self.path / f"alerts-{number:05}.jsonl"

    def parts(self) -> list[tuple[Path, Path]]:
        """The files that count, oldest first."""
        done = self.summary() or self.progress()
        return [self.part(number) for number in range(1, done.get("parts", 0) + 1)]

    def windows(self) -> Iterator[pa.RecordBatch]:
        """All windows that were written, all revisions, in batches of MetricWindow."""
        for path, _ in self.parts():
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches()

    def alerts(self) -> Iterator[Alert]:
        """All transitions, in the order in which they came."""
        for _, path in self.parts():
            with path.open() as lines:
                for line in lines:
                    yield Alert.model_validate_json(line)

    def drop_beyond(self, parts: int) -> None:
        """Remove files that belong to no checkpoint: their events are read again."""
        for path in (*self.path.glob("windows-*.parquet"), *self.path.glob("alerts-*.jsonl")):
            if int(path.stem.rpartition("-")[2]) > parts:
                path.unlink()

    # How far it is

    def save(self, header: dict[str, Any], state: list[Named]) -> None:
        """Replace the checkpoint; it is on disk when this returns."""
        sink = pa.BufferOutputStream()
        metadata = {_HEADER: json.dumps(header).encode()}
        with pa.ipc.new_file(sink, SCHEMA.with_metadata(metadata)) as writer:
            for batch in packed(state):
                writer.write_batch(batch)
        self._replace(_CHECKPOINT, sink.getvalue().to_pybytes())

    def saved(self) -> tuple[dict[str, Any], list[Named]] | None:
        """What `save` has written last; None: nothing. Raises FolderError."""
        path = self.path / _CHECKPOINT
        if not path.exists():
            return None
        try:
            with pa.ipc.open_file(path) as reader:
                header = json.loads(reader.schema.metadata[_HEADER])
                batches = [reader.get_batch(n) for n in range(reader.num_record_batches)]
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise FolderError(f"{path} is not readable: {error}; begin the replay anew") from None
        return header, [named for batch in batches for named in unpacked(batch)]

    def progress(self) -> dict[str, Any]:
        """The header of the checkpoint; empty without one."""
        saved = self.saved()
        return {} if saved is None else saved[0]

    def finish(self, summary: dict[str, Any]) -> None:
        """It is done: the state is needed no more."""
        self._replace(_SUMMARY, json.dumps(summary, indent=1).encode())
        (self.path / _CHECKPOINT).unlink(missing_ok=True)

    def summary(self) -> dict[str, Any] | None:
        """What `finish` was given; None while it is not done."""
        path = self.path / _SUMMARY
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
        return found

    def _replace(self, name: str, data: bytes) -> None:
        unfinished = self.path / f".{name}.tmp"
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path / name)


def folders(home: Path) -> list[Folder]:
    """The replays of an installation, oldest first."""
    found = [Folder(path.parent) for path in home.glob(f"*/{_MANIFEST}")]
    return sorted(found, key=lambda folder: folder.manifest().made_at)
