"""What a replay finds, on its way into files and, if wanted, into topics of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nilo_schemas.alerts import Alert
from nilo_stream_processors.engine.detect.transition import time_of
from nilo_stream_processors.engine.merged import SCHEMA
from nilo_stream_processors.engine.rebuild import Output
from nilo_stream_processors.replay.folder import Folder
from nilo_stream_processors.replay.manifest import Range
from nilo_stream_processors.replay.publishing import Publisher

_ROWS = 50_000  # windows in memory at a time


@dataclass
class Results:
    """Takes what closes; `cut` puts it on disk, and says of how many files it is.

    Args:
        folder: of the replay.
        asked: its range: what lies outside is left out.
        publisher: also into topics; None: files alone.
        parts: files there are already.
        windows, alerts: how many there are in them.
    """

    folder: Folder
    asked: Range
    publisher: Publisher | None
    parts: int = 0
    windows: int = 0
    alerts: int = 0
    _held: list[pa.RecordBatch] = field(default_factory=list)
    _said: list[Alert] = field(default_factory=list)
    _writer: pq.ParquetWriter | None = None

    def add(self, output: Output) -> None:
        """Take in what closed now."""
        since, until = self.asked.since, self.asked.until
        found = [_inside(batch, since, until) for batch in output.windows]
        alerts = [each for each in output.alerts if _is_inside(each, since, until)]
        self.windows += sum(batch.num_rows for batch in found)
        self.alerts += len(alerts)
        self._held += found
        self._said += alerts
        if sum(batch.num_rows for batch in self._held) > _ROWS:
            self._write()

    def cut(self) -> None:
        """Put all on disk, as another pair of files, and into the topics."""
        self._write().close()
        self._writer, self.parts = None, self.parts + 1
        windows, alerts = self.folder.part(self.parts)
        lines = "".join(f"{each.model_dump_json()}\n" for each in self._said)
        alerts.write_text(lines)
        for path in (windows, alerts):
            _sync(str(path))
        if self.publisher is not None:
            self.publisher.publish(windows, self._said)
        self._said = []

    def _write(self) -> pq.ParquetWriter:
        path, _ = self.folder.part(self.parts + 1)
        writer = self._writer or pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._writer, held, self._held = writer, self._held, []
        if held:
            writer.write_table(pa.Table.from_batches(held, SCHEMA))
        return writer

    def state(self) -> dict[str, int]:
        """What an interrupted run needs to go on."""
        return {"parts": self.parts, "windows": self.windows, "alerts": self.alerts}


def _inside(batch: pa.RecordBatch, since: int | None, until: int | None) -> pa.RecordBatch:
    if since is None and until is None:
        return batch
    wanted: Any = pc.scalar(True)
    if since is not None:
        wanted &= pc.field("window_start") >= pa.scalar(since, pa.int64()).cast(_TIME)
    if until is not None:
        wanted &= pc.field("window_end") <= pa.scalar(until, pa.int64()).cast(_TIME)
    return batch.filter(wanted)


def _is_inside(alert: Alert, since: int | None, until: int | None) -> bool:
    late_enough = since is None or alert.time > time_of(since)
    return late_enough and (until is None or alert.time <= time_of(until))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_TIME = pa.timestamp("us", "UTC")
