"""The Prometheus sink: windows held in memory for /metrics."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from nilo_consumers.batch import Batch, Policy
from nilo_consumers.decoding import TopicPart
from nilo_consumers.series import EXPIRES, WindowCollector
from nilo_consumers.sink import Offsets


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
        self._collector.add(batch.rows)
        return int(batch.rows.num_rows)

    def close(self) -> None:
        """Nothing is held open."""
