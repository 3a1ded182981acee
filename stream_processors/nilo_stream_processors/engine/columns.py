"""What a metric reads of a batch: the rows it selects, their values, errors and dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nilo_schemas.catalogue import Condition, Metric, field_kind

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Dimensions = tuple[str, ...]
LARGEST_FLOAT = 9e12


@dataclass(frozen=True)
class MetricRows:
    """The rows of a batch that belong to a metric, as arrays of equal length.

    `series` points into `keys`, the distinct dimension values; `weights` is what a sampled
    event stands for; `values` are integers in `1 / value_scale` of the unit, None for counts only.
    """

    times: Ints
    offsets: Ints
    weights: Ints
    errors: Bools
    values: Ints | None
    series: Ints
    keys: list[Dimensions]

    def only(self, chosen: Bools) -> MetricRows:
        """The chosen rows; the keys stay."""
        return MetricRows(
            self.times[chosen],
            self.offsets[chosen],
            self.weights[chosen],
            self.errors[chosen],
            None if self.values is None else self.values[chosen],
            self.series[chosen],
            self.keys,
        )


def metric_rows(metric: Metric, batch: pa.RecordBatch, offsets: Ints) -> MetricRows:
    """Select the metric's rows of a batch; `offsets` are the Kafka offsets of its rows.

    Rows whose value is null are not the metric's.
    """
    chosen = mask(metric.where, batch)
    for name in metric.value_fields():
        chosen &= _bools(pc.is_valid(batch.column(name)))
    if not chosen.all():
        batch, offsets = batch.filter(pa.array(chosen)), offsets[chosen]
    series, keys = _series(metric, batch)
    return MetricRows(
        times=_ints(batch.column("time")),
        offsets=offsets,
        weights=_ints(batch.column("sample_rate")),
        errors=mask(metric.error_when, batch) if metric.error_when else _none(batch),
        values=_values(metric, batch),
        series=series,
        keys=keys,
    )


def mask(conditions: dict[str, Condition], batch: pa.RecordBatch) -> Bools:
    """True where all conditions hold."""
    masks = [
        _holds(condition, column(name, batch), batch) for name, condition in conditions.items()
    ]
    return reduce(np.logical_and, masks, np.ones(batch.num_rows, np.bool_))


def column(name: str, batch: pa.RecordBatch) -> pa.Array:
    """The column of a field, or of `attributes.<key>`."""
    if name.startswith("attributes."):
        key = name.removeprefix("attributes.")
        return pc.map_lookup(batch.column("attributes"), key, "last")
    return batch.column(name)


def _holds(condition: Condition, values: pa.Array, batch: pa.RecordBatch) -> Bools:
    if condition.present is False:
        return _bools(pc.is_null(values))
    holds = _bools(pc.is_valid(values))
    if condition.any_of:
        holds &= _bools(pc.is_in(values, value_set=pa.array(condition.any_of, values.type)))
    if condition.not_ is not None:
        strange = pc.is_in(values, value_set=pa.array(condition.excluded(), values.type))
        holds &= ~_bools(strange)
    if condition.gte is not None:
        holds &= _bools(pc.greater_equal(values, condition.gte))
    if condition.lte is not None:
        holds &= _bools(pc.less_equal(values, condition.lte))
    if condition.differs_from is not None:
        holds &= _bools(pc.not_equal(values, column(condition.differs_from, batch)))
    return holds


def _values(metric: Metric, batch: pa.RecordBatch) -> Ints | None:
    fields = metric.value_fields()
    if not fields:
        return None
    kind = field_kind(metric.family(), fields[0])
    first = batch.column(fields[0])
    if kind is datetime:
        return _ints(first) - _ints(batch.column(fields[1]))
    if kind is float:
        scaled = np.clip(first.to_numpy(zero_copy_only=False), -LARGEST_FLOAT, LARGEST_FLOAT)
        return np.asarray(np.rint(scaled * metric.value_scale()), np.int64)
    return _ints(first)


def _series(metric: Metric, batch: pa.RecordBatch) -> tuple[Ints, list[Dimensions]]:
    """The number of each row's series, and the dimension values of each number."""
    if not metric.dimensions:
        return np.zeros(batch.num_rows, np.int64), [()]
    combined = np.zeros(batch.num_rows, np.int64)
    labels: list[list[str]] = []
    for name in metric.dimensions:
        coded = pc.fill_null(pc.cast(column(name, batch), pa.string()), "").dictionary_encode()
        labels.append(coded.dictionary.to_pylist())
        combined = combined * max(len(labels[-1]), 1) + _ints(coded.indices)
    distinct, series = np.unique(combined, return_inverse=True)
    return series.astype(np.int64), [_split(int(code), labels) for code in distinct]


def _split(code: int, labels: list[list[str]]) -> Dimensions:
    parts = []
    for values in reversed(labels):
        code, index = divmod(code, max(len(values), 1))
        parts.append(values[index])
    return tuple(reversed(parts))


def _ints(array: pa.Array) -> Ints:
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    return np.asarray(array.to_numpy(zero_copy_only=False)).astype(np.int64, copy=False)


def _bools(array: pa.Array) -> Bools:
    return np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False), np.bool_)


def _none(batch: pa.RecordBatch) -> Bools:
    return np.zeros(batch.num_rows, np.bool_)
