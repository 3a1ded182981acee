"""The Prometheus sink: windows held in memory for /metrics."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import pyarrow as pa

from nilo_consumers.batch import ORIGIN, Batch, Policy
from nilo_consumers.decoding import TopicPart
from nilo_consumers.series import EXPIRES, WindowCollector
from nilo_consumers.sink import Offsets
from nilo_schemas.results import MetricWindow


class PrometheusSink:
    """Keeps nothing: after a start it reads the last minutes again; see `Sink`."""

    name = "prometheus"
    policy = Policy(rows=10_000, seconds=0.5)
    look_back: timedelta | None = EXPIRES

    def __init__(self, collector: WindowCollector) -> None:
        self._collector = collector

    def connect(self, parts: Collection[TopicPart]) -> Offsets:
        """There is no store, so no offsets."""
        return {}

    def write(self, batch: Batch) -> int:
        """Give the windows to the collector."""
        self._collector.add(windows_of(batch.rows.drop_columns([field.name for field in ORIGIN])))
        return int(batch.rows.num_rows)

    def close(self) -> None:
        """Nothing is held open."""


def windows_of(rows: pa.Table) -> list[MetricWindow]:
    """The windows in rows that have exactly the columns of the contract."""
    return [_window(row) for row in rows.to_pylist()]


def _window(row: dict[str, Any]) -> MetricWindow:
    # A foreign writer may break a rule that Avro cannot say; the numbers are shown as they are.
    maps = {name: dict(row[name]) for name in ("dimensions", "quantiles")}
    return MetricWindow.model_validate(row | maps)
