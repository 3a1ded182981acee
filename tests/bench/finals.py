"""Compares final windows with what they must hold, also while a worker publishes them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Consumer, TopicPartition

from nilo_schemas.batch import BatchDecoder
from nilo_schemas.catalogue import Metric
from nilo_schemas.clients import kafka_config
from nilo_schemas.registry import Registry
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.bench.stream import Stream
from tests.bench.topic import Cells, expected

READ = 10_000
WINDOW = "1m"
_COLUMNS = ("metric", "count", "errors", "sum", "min", "max", "revision")


class Compared:
    """The newest final windows of a job over a stream, by metric, window start and model."""

    def __init__(self, metrics: Mapping[str, Metric], stream: Stream) -> None:
        self._metrics = metrics
        self._wanted = {name: _wanted(metric, stream) for name, metric in metrics.items()}
        self._found: dict[str, dict[Any, tuple[Any, ...]]] = {name: {} for name in metrics}

    def take(self, rows: pa.RecordBatch) -> None:
        """Take in windows; those of closing events, of other lengths and not final are left out."""
        rows = rows.filter(pc.and_(rows["final"], pc.equal(rows["window"], WINDOW)))
        starts = rows["window_start"].cast(pa.int64()).to_pylist()
        models = pc.map_lookup(rows["dimensions"], "model", "first").to_pylist()
        columns = [rows[name].to_pylist() for name in _COLUMNS]
        for start, model, metric, *cell in zip(starts, models, *columns, strict=True):
            cells, key = self._found.get(metric), (start, model)
            if cells is None or key not in self._wanted[metric]:
                continue
            if key not in cells or cells[key][-1] <= cell[-1]:
                cells[key] = tuple(cell)

    def complete(self) -> bool:
        """Whether every window that must come has come."""
        return all(len(self._found[name]) >= len(cells) for name, cells in self._wanted.items())

    @property
    def windows(self) -> int:
        """How many windows there must be."""
        return sum(map(len, self._wanted.values()))

    def differences(self) -> int:
        """How many windows hold something else than they must."""
        return sum(
            not _same(metric, self._found[name].get(key), cell)
            for name, metric in self._metrics.items()
            for key, cell in self._wanted[name].items()
        )


class Finals(Compared):
    """Those that a worker publishes."""

    def __init__(self, settings: Settings, metrics: Mapping[str, Metric], stream: Stream) -> None:
        super().__init__(metrics, stream)
        self._decoder = BatchDecoder(MetricWindow, Registry(settings).schema)
        self._consumer = Consumer(kafka_config(settings, group_id=uuid.uuid4().hex))
        topic = settings.topic_prefix + MetricWindow.kafka_topic
        self._consumer.assign([TopicPartition(topic, p, 0) for p in range(settings.partitions)])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def complete(self) -> bool:
        """Read on; whether every window that must come has come."""
        values = [
            message.value()
            for message in self._consumer.consume(READ, 0.05)
            if message.error() is None
        ]
        if values:
            self.take(self._decoder.decode(values).rows)
        return super().complete()


def _wanted(metric: Metric, stream: Stream) -> Cells:
    status = metric.where.get("status")
    cells = expected(stream, metric.value, str(status.any_of[0]) if status else None)
    if metric.error_when:
        return cells
    return {key: (cell[0], 0, *cell[2:]) for key, cell in cells.items()}


def _same(metric: Metric, found: tuple[Any, ...] | None, wanted: tuple[Any, ...]) -> bool:
    """Whether a window holds the numbers; sums, least and largest only where they are asked for."""
    if found is None or found[:2] != wanted[:2]:
        return False
    scale = metric.value_scale()
    asked = [name in metric.aggregates for name in ("sum", "min", "max")]
    return all(
        value is not None and round(value * scale) == whole
        for value, whole, one in zip(found[2:5], wanted[2:], asked, strict=True)
        if one
    )
