"""Merged windows as columns, and as Arrow batches of `MetricWindow`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nilo_schemas.arrow import arrow_schema
from nilo_schemas.catalogue import Metric
from nilo_schemas.results import MetricWindow
from nilo_stream_processors.engine import sums
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints, Texts
from nilo_stream_processors.engine.entries import Entries
from nilo_stream_processors.engine.histogram import Values, quantiles
from nilo_stream_processors.engine.series import SEPARATOR
from nilo_stream_processors.engine.sketch import estimates
from nilo_stream_processors.engine.tallies import Bins, Tallies

SCHEMA = arrow_schema(MetricWindow)
MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Sources:
    """The stretches of partitions that windows were made of; `lengths` says how many of each."""

    lengths: Ints
    partition: Ints
    first: Ints
    last: Ints


@dataclass(frozen=True)
class Content:
    """What windows hold: sums of shape (fields, windows), their sparse parts, their sources."""

    sums: Ints
    buckets: Bins
    registers: Bins
    sources: Sources


@dataclass(frozen=True)
class Published:
    """Windows of one metric and one length that are to be published; times in microseconds.

    Rules do not look at what is `late`: it has events that came when the window was closed.
    """

    name: str
    metric: Metric
    window: str
    series: Texts
    start: Ints
    end: Ints
    final: Bools
    revision: Ints
    watermark: Ints
    content: Content
    late: bool = False

    def __len__(self) -> int:
        return len(self.series)


def content_of(entries: Entries, rows: Ints, owners: Ints, count: int) -> Content:
    """Merge entries into `count` windows.

    Args:
        rows: the slots of the entries, rising.
        owners: the number of the window that each of them belongs to.
    """
    held = entries.held
    merged = sums.empty(count)
    sums.join(merged, owners, held.sums[:, rows])
    return Content(
        merged,
        regrouped(held.buckets.of(rows), owners, count, np.add),
        regrouped(held.registers.of(rows), owners, count, np.maximum),
        _sources(owners, entries.partition[rows], held.sums[:, rows], count),
    )


def regrouped(bins: Bins, owners: Ints, count: int, join: np.ufunc) -> Bins:
    """The bins of several slots joined into those of `count` owners."""
    tallies = Tallies(join)
    tallies.add(np.repeat(owners, bins.lengths), bins.bins, bins.counts)
    return tallies.of(np.arange(count))


def _sources(owners: Ints, partitions: Ints, block: Ints, count: int) -> Sources:
    width = int(partitions.max(initial=0)) + 1
    # A withdrawn session has no events, so it is no source.
    full = block[sums.COUNT] > 0
    keys, members = np.unique((owners * width + partitions)[full], return_inverse=True)
    first, last = sums.empty(len(keys))[[sums.FIRST, sums.LAST]]
    np.minimum.at(first, members, block[sums.FIRST, full])
    np.maximum.at(last, members, block[sums.LAST, full])
    return Sources(np.bincount(keys // width, minlength=count), keys % width, first, last)


def to_arrow(windows: Published) -> pa.RecordBatch:
    """The windows as an Arrow batch of MetricWindow, as Avro's contract has it."""
    metric, content = windows.metric, windows.content
    asked, count = set(metric.aggregates), content.sums[sums.COUNT]
    errors, seconds = content.sums[sums.ERRORS], (windows.end - windows.start) / MICROSECONDS
    total = sums.totals(content.sums) / metric.value_scale()
    valued = (count > 0) & (metric.value is not None)
    low, high = (content.sums[row] / metric.value_scale() for row in (sums.LEAST, sums.MOST))
    safe = np.maximum(count, 1)
    columns = {
        "metric": pa.repeat(windows.name, len(windows)),
        "unit": pa.repeat(metric.unit, len(windows)),
        "window": pa.repeat(windows.window, len(windows)),
        "window_start": _times(windows.start),
        "window_end": _times(windows.end),
        "dimensions": _dimensions(windows),
        "count": pa.array(count),
        "errors": pa.array(errors),
        "sum": _where(valued & ("sum" in asked), total),
        "min": _where(valued & ("min" in asked), low),
        "max": _where(valued & ("max" in asked), high),
        "mean": _where(valued & ("mean" in asked), total / safe),
        "rate": pa.array(count / np.where(seconds > 0, seconds, 1.0)),
        "error_ratio": pa.array(errors / safe),
        "distinct": _distinct(windows),
        **_distribution(metric, content, low, high),
        "final": pa.array(windows.final),
        "revision": pa.array(windows.revision),
        "watermark": _times(windows.watermark),
        "sources": _source_lists(metric.event, content.sources),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _times(microseconds: Ints) -> pa.Array:
    return pa.array(microseconds).cast(pa.timestamp("us", "UTC"))


def _where(known: Bools, values: Floats) -> pa.Array:
    return pa.array(values, mask=~known)


def _distinct(windows: Published) -> pa.Array:
    if windows.metric.distinct is None:
        return pa.nulls(len(windows), pa.float64())
    return pa.array(estimates(windows.content.registers))


def _ends(lengths: Ints) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def _dimensions(windows: Published) -> pa.Array:
    names, series = windows.metric.dimensions, pa.array(windows.series, pa.string())
    keys = pa.array(names * len(windows), pa.string())
    values = pc.split_pattern(series, SEPARATOR).flatten() if names else keys
    ends = _ends(np.full(len(windows), len(names)))
    return pa.MapArray.from_arrays(ends, keys, values, type=SCHEMA.field("dimensions").type)


def _distribution(
    metric: Metric, content: Content, low: Floats, high: Floats
) -> dict[str, pa.Array]:
    """The quantiles and the histogram; none of them for a metric that has no quantiles."""
    count, kinds = content.sums.shape[1], [SCHEMA.field(n).type for n in ("quantiles", "histogram")]
    if "quantiles" not in metric.aggregates:
        empty = pa.MapArray.from_arrays(
            _ends(np.zeros(count, np.int64)),
            pa.array([], pa.string()),
            pa.array([], pa.float64()),
            type=kinds[0],
        )
        return {"quantiles": empty, "histogram": pa.nulls(count, kinds[1])}
    zero, negative = content.sums[sums.ZERO], content.sums[sums.NEGATIVE]
    values = Values(negative, zero, content.buckets, low, high)
    found = quantiles(values, metric.histogram_scale, metric.quantiles)
    # A window without events has no quantiles.
    known = values.totals() > 0
    table = np.stack(list(found.values()), axis=1)[known] if found else np.empty((0, 0))
    keys = pa.array(list(found) * int(known.sum()), pa.string())
    ends = _ends(known * len(found))
    scale = np.full(count, metric.histogram_scale, np.int32)
    bins = _ends(content.buckets.lengths)
    histogram = pa.StructArray.from_arrays(
        [
            pa.array(scale),
            pa.array(zero),
            pa.array(negative),
            pa.ListArray.from_arrays(bins, pa.array(content.buckets.bins.astype(np.int32))),
            pa.ListArray.from_arrays(bins, pa.array(content.buckets.counts)),
        ],
        fields=list(kinds[1]),
    )
    flat = pa.array(table.reshape(-1), pa.float64())
    return {
        "quantiles": pa.MapArray.from_arrays(ends, keys, flat, type=kinds[0]),
        "histogram": histogram,
    }


def _source_lists(topic: str, sources: Sources) -> pa.Array:
    kind = SCHEMA.field("sources").type
    ranges = pa.StructArray.from_arrays(
        [
            pa.repeat(topic, len(sources.partition)),
            pa.array(sources.partition.astype(np.int32)),
            pa.array(sources.first),
            pa.array(sources.last),
        ],
        fields=list(kind.value_type),
    )
    return pa.ListArray.from_arrays(_ends(sources.lengths), ranges, type=kind)
