"""What metrics read of a batch: selections, values, errors and series, each made once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import reduce
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nilo_schemas.catalogue import Condition, Metric, field_kind
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints, Texts, distinct
from nilo_stream_processors.engine.series import OTHER, SEPARATOR

# Rows of a batch: all of them, or those with the given numbers.
Chosen = slice | Ints
ALL = slice(None)
LARGEST_FLOAT = 9e12
# In letters, as our models have it. Other producers may send more, and labels are in the keys of
# messages, of which Kafka takes no more than a million bytes.
LONGEST_LABEL = 1024
T = TypeVar("T")
# As an object: numpy's own texts lose a NUL at their end.
_SEPARATOR = np.array(SEPARATOR, np.object_)


def fields_of(metrics: Iterable[Metric]) -> set[str]:
    """The columns of a batch that are read for these metrics."""
    found: set[str | None] = {"time", "sample_rate"}
    for metric in metrics:
        found |= {*metric.dimensions, *metric.value_fields(), metric.distinct}
        for tests in (metric.where, metric.error_when):
            found |= {*tests, *(test.differs_from for test in tests.values())}
    return {name.partition(".")[0] for name in found if name}


class Columns:
    """A decoded batch of one source partition, with the offsets of its rows."""

    def __init__(self, batch: pa.RecordBatch, offsets: Ints) -> None:
        self.batch, self.offsets = batch, offsets
        self.times = ints(batch.column("time"))
        self.weights = ints(batch.column("sample_rate"))
        self.weighted = bool((self.weights != 1).any())
        self._made: dict[Any, Any] = {}

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def mask(self, conditions: dict[str, Condition]) -> Bools:
        """True where all conditions hold; not to be written to."""
        return self._once(("mask", repr(conditions)), lambda: self._mask(conditions))

    def values(self, metric: Metric) -> Ints:
        """The metric's value of each row in `1 / value_scale` of its unit; anything where null."""
        return self._once(("value", metric.value), lambda: self._values(metric))

    def valid(self, metric: Metric) -> Bools | None:
        """Where the metric has a value, which NaN is not; None for everywhere."""
        return self._once(("valid", metric.value), lambda: self._valid(metric))

    def texts(self, name: str) -> tuple[Ints, Texts]:
        """The number of each row's text in a field or `attributes.<key>`, and the texts or None."""
        return self._once(("text", name), lambda: self._texts(name))

    def series(self, dimensions: tuple[str, ...], rows: Chosen) -> tuple[Ints, Texts]:
        """The number of each row's series among those rows, and the text of each.

        The label of a null is "", of a text of more than LONGEST_LABEL letters `OTHER`.
        """
        numbers = np.zeros(len(self), np.int64)[rows]
        series: Texts = np.array([""], np.object_)
        for place, name in enumerate(dimensions):
            codes, texts = self.texts(name)
            many = len(texts)
            found, numbers = distinct(numbers * many + codes[rows], len(series) * many)
            labels = np.where(texts == None, "", texts)  # noqa: E711  it is compared by element
            lengths = np.fromiter(map(len, labels.tolist()), np.int64, many)
            labels[lengths > LONGEST_LABEL] = OTHER
            ends = labels[found % many]
            series = series[found // many] + _SEPARATOR + ends if place else ends
        return numbers, series

    def _mask(self, conditions: dict[str, Condition]) -> Bools:
        masks = [self._holds(name, test) for name, test in conditions.items()]
        return reduce(np.logical_and, masks, np.ones(len(self), np.bool_))

    def _texts(self, name: str) -> tuple[Ints, Texts]:
        column = pc.cast(self._column(name), pa.string()).dictionary_encode(null_encoding="encode")
        return ints(column.indices), column.dictionary.to_numpy(zero_copy_only=False)

    def _column(self, name: str) -> pa.Array:
        if name.startswith("attributes."):
            return self._once(("column", name), lambda: self._attribute(name))
        return self.batch.column(name)

    def _attribute(self, name: str) -> pa.Array:
        key = name.removeprefix("attributes.")
        return pc.map_lookup(self.batch.column("attributes"), key, "last")

    def _holds(self, name: str, test: Condition) -> Bools:
        values = self._column(name)
        if test.present is False:
            return bools(pc.is_null(values))
        holds = bools(pc.is_valid(values))
        if test.any_of:
            holds &= bools(_is_one_of(values, test.any_of))
        if test.not_ is not None:
            strange = pc.is_in(values, value_set=pa.array(test.excluded(), values.type))
            holds &= ~bools(strange)
        if test.gte is not None:
            holds &= bools(pc.greater_equal(values, test.gte))
        if test.lte is not None:
            holds &= bools(pc.less_equal(values, test.lte))
        if test.differs_from is not None:
            holds &= bools(pc.not_equal(values, self._column(test.differs_from)))
        return holds

    def _valid(self, metric: Metric) -> Bools | None:
        columns = [self.batch.column(name) for name in metric.value_fields()]
        masks = [bools(column.is_valid()) for column in columns if column.null_count]
        masks += [~_nans(column) for column in columns if pa.types.is_floating(column.type)]
        valid = reduce(np.logical_and, masks, np.ones(len(self), np.bool_))
        return None if valid.all() else valid

    def _values(self, metric: Metric) -> Ints:
        fields = metric.value_fields()
        kind = field_kind(metric.family(), fields[0])
        first = self.batch.column(fields[0])
        if kind is datetime:
            return ints(first) - ints(self.batch.column(fields[1]))
        if kind is float:
            given = np.where(_nans(first), 0.0, _floats(first))
            clipped = np.clip(given, -LARGEST_FLOAT, LARGEST_FLOAT)
            return np.asarray(np.rint(clipped * metric.value_scale()), np.int64)
        return ints(first)

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found


def _is_one_of(values: pa.Array, wanted: list[Any]) -> pa.Array:
    if len(wanted) == 1 and pa.types.is_string(values.type):
        return pc.equal(
            values, pa.scalar(wanted[0], values.type)
        )  # a third of what hashing each text takes
    return pc.is_in(values, value_set=pa.array(wanted, values.type))


def ints(array: pa.Array) -> Ints:
    """Integers or times (microseconds) as an array, 0 for null."""
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    if array.null_count:
        array = pc.fill_null(array, 0)
    return np.asarray(array.to_numpy(zero_copy_only=False)).astype(np.int64, copy=False)


def bools(array: pa.Array) -> Bools:
    """Truth values as an array, False for null."""
    return np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False), np.bool_)


def _floats(column: pa.Array) -> Floats:
    return np.asarray(pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False), np.float64)


def _nans(column: pa.Array) -> Bools:
    return np.isnan(_floats(column))
