"""Cells as records of `metrics.partials`, and back: what stage 1 sends, stores and recovers."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from nilo_schemas.catalogue import Metric
from nilo_schemas.results import Histogram, MetricPartial, SourceRange
from nilo_stream_processors.engine.aggregate import SourceState
from nilo_stream_processors.engine.cells import Cell, CellKey
from nilo_stream_processors.engine.histogram import Buckets

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_time(microseconds: int) -> datetime:
    """The UTC time of microseconds since the epoch."""
    return EPOCH + microseconds * MICROSECOND


def to_microseconds(time: datetime) -> int:
    """Microseconds since the epoch."""
    return (time - EPOCH) // MICROSECOND


def partial_of(
    key: CellKey, cell: Cell, metric: Metric, source: tuple[str, int], watermark: int
) -> MetricPartial:
    """The snapshot of a cell; `source` is the topic and partition of its events."""
    has_value = metric.value is not None
    return MetricPartial(
        metric=key.metric,
        dimensions=dict(zip(metric.dimensions, key.dimensions, strict=True)),
        window_start=to_time(key.start),
        window_end=to_time(key.end),
        source=SourceRange(
            topic=source[0],
            partition=source[1],
            first_offset=cell.first_offset,
            last_offset=cell.last_offset,
        ),
        watermark=to_time(watermark),
        count=cell.count,
        errors=cell.errors,
        value_scale=metric.value_scale(),
        sum=cell.sum if has_value else None,
        min=cell.low,
        max=cell.high,
        histogram=histogram_of(cell.buckets, metric) if "quantiles" in metric.aggregates else None,
    )


def watermark_of(source: tuple[str, int], state: SourceState) -> MetricPartial:
    """A partial without a metric: how far the source partition has come, and whether it is idle."""
    mark = to_time(state.watermark)
    return MetricPartial(
        metric="",
        dimensions={},
        window_start=mark,
        window_end=mark,
        source=SourceRange(
            topic=source[0], partition=source[1], first_offset=0, last_offset=state.last_offset
        ),
        watermark=mark,
        idle=state.idle,
        count=0,
        errors=0,
        value_scale=1,
    )


def restore(state: SourceState, partial: MetricPartial, metric: Metric | None) -> None:
    """Put a stored partial back into the state of its source partition.

    A metric that the catalogue no longer has is dropped.
    """
    state.recovered_offset = max(state.recovered_offset, partial.source.last_offset)
    if not partial.metric:
        state.watermark = max(state.watermark, to_microseconds(partial.watermark))
        state.last_offset = max(state.last_offset, partial.source.last_offset)
        state.idle = partial.idle
    elif metric is not None:
        state.cells[cell_key(partial)] = _cell(partial)


def cell_key(partial: MetricPartial) -> CellKey:
    """Which window of which series a partial is of."""
    return CellKey(
        partial.metric,
        to_microseconds(partial.window_start),
        to_microseconds(partial.window_end),
        tuple(partial.dimensions.values()),
    )


def _cell(partial: MetricPartial) -> Cell:
    return Cell(
        first_offset=partial.source.first_offset,
        last_offset=partial.source.last_offset,
        count=partial.count,
        errors=partial.errors,
        sum=partial.sum or 0,
        low=partial.min,
        high=partial.max,
        buckets=buckets_of(partial.histogram),
    )


def histogram_of(buckets: Buckets, metric: Metric) -> Histogram:
    """The histogram record of counts."""
    indexes = sorted(buckets.counts)
    return Histogram(
        scale=metric.histogram_scale,
        zero=buckets.zero,
        negative=buckets.negative,
        indexes=indexes,
        counts=[buckets.counts[index] for index in indexes],
    )


def buckets_of(histogram: Histogram | None) -> Buckets:
    """The counts of a histogram record; empty for none."""
    if histogram is None:
        return Buckets()
    counts = Counter(dict(zip(histogram.indexes, histogram.counts, strict=True)))
    return Buckets(histogram.zero, histogram.negative, counts)
