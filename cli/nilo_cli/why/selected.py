"""Which events an alert is about, and which are errors: what the engine says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.events import rows_of
from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue, Condition, Metric
from nilo_schemas.envelope import Severity
from nilo_schemas.results import SourceRange
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints
from nilo_stream_processors.engine.columns import ALL, Columns
from nilo_stream_processors.engine.series import OTHER, text_of

_GRAVE = Condition.model_validate([Severity.ERROR.value, Severity.CRITICAL.value])


@dataclass(frozen=True)
class RawEvent:
    """An event, where it lies, its value in the metric's unit, and whether it is an error.

    `values` are the fields as Avro carries them, those that are null left out.
    """

    topic: str
    partition: int
    offset: int
    values: Mapping[str, Any]
    error: bool
    value: float | None = None

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.values["id"])

    @property
    def time(self) -> datetime:
        """When it happened."""
        time: datetime = self.values["time"]
        return time

    def text(self, name: str) -> str | None:
        """A field of text; None where it has none."""
        value = self.values.get(name)
        return None if value is None else str(value)


class Selected:
    """The events of a metric, of one series, within some time.

    Args:
        metric: None when the catalogue has it no longer; then events are told apart by time only.
        labels: those of the series; `__other__` stands for any.
        since: microseconds since 1970, as `until`, which is not included.
    """

    def __init__(
        self, metric: Metric | None, labels: Mapping[str, str], since: int, until: int
    ) -> None:
        self._metric, self._since, self._until = metric, since, until
        known = {name: value for name, value in labels.items() if value != OTHER}
        self._dimensions, self._series = tuple(known), text_of(list(known.values()))

    def mask(self, columns: Columns) -> Bools:
        """Which rows it is."""
        found: Bools = (columns.times >= self._since) & (columns.times < self._until)
        if self._metric is None:
            return found
        numbers, series = columns.series(self._dimensions, ALL)
        mine: Bools = (series == self._series)[numbers]
        return found & mine & columns.mask(self._metric.where)

    def values(self, columns: Columns) -> Floats:
        """The value of each row in the metric's unit, NaN where there is none."""
        if self._metric is None or not self._metric.value:
            return np.full(len(columns), np.nan)
        values: Floats = columns.values(self._metric) / self._metric.value_scale()
        valid = columns.valid(self._metric)
        return values if valid is None else np.where(valid, values, np.nan)


class Errors:
    """Which events are errors: what a metric of their family calls one, and what is grave."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def mask(self, topic: str, columns: Columns) -> Bools:
        """Which rows of a topic (without prefix) are errors."""
        found = columns.mask({"severity": _GRAVE})
        for metric in self._catalogue.of_event(topic).values():
            if metric.error_when:
                found = found | (columns.mask(metric.where) & columns.mask(metric.error_when))
        return found


@dataclass(frozen=True)
class Place:
    """Where the events of an alert are looked for, without the topic's prefix."""

    alert: Alert
    selected: Selected

    def mask(self, topic: str, partition: int, columns: Columns) -> Bools:
        """Which rows of a partition lie in the alert's sources and are of its series."""
        inside = np.zeros(len(columns), np.bool_)
        for source in self._sources.get((topic, partition), ()):
            inside |= (columns.offsets >= source.first_offset) & (
                columns.offsets <= source.last_offset
            )
        return inside & self.selected.mask(columns) if inside.any() else inside

    @cached_property
    def _sources(self) -> dict[tuple[str, int], list[SourceRange]]:
        found: dict[tuple[str, int], list[SourceRange]] = {}
        for source in self.alert.sources:
            found.setdefault((source.topic, source.partition), []).append(source)
        return found


def columns_of(batch: pa.RecordBatch) -> Columns:
    """Rows with their origin as the engine looks at them."""
    offsets = batch.column(batch.schema.get_field_index(OFFSET))
    return Columns(batch, np.asarray(offsets.to_numpy(zero_copy_only=False), np.int64))


def raw_events(
    topic: str, batch: pa.RecordBatch, rows: Ints, errors: Bools, values: Floats | None = None
) -> list[RawEvent]:
    """The given rows of a batch of one topic (without prefix) as events."""
    found = []
    for row, plain in zip(rows.tolist(), rows_of(batch.take(pa.array(rows))), strict=True):
        value = None if values is None or np.isnan(values[row]) else float(values[row])
        partition, offset = int(plain.pop(PARTITION)), int(plain.pop(OFFSET))
        given = {name: each for name, each in plain.items() if each is not None}
        found.append(RawEvent(topic, partition, offset, given, bool(errors[row]), value))
    return found
