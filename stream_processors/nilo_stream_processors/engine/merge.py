"""Stage 2: the partials of all source partitions become windows, final at the watermark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from nilo_schemas.catalogue import Catalogue, Metric, window_length
from nilo_schemas.results import MetricPartial, MetricWindow
from nilo_stream_processors.engine.cells import CellKey
from nilo_stream_processors.engine.histogram import Buckets, quantiles
from nilo_stream_processors.engine.partials import (
    buckets_of,
    cell_key,
    histogram_of,
    to_microseconds,
    to_time,
)

Source = tuple[str, int]
SILENT = 2**62


@dataclass
class WindowState:
    """One window: the newest partial of each source partition, and how it was published."""

    partials: dict[Source, MetricPartial] = field(default_factory=dict)
    revision: int = 0
    final: bool = False


@dataclass
class MergeState:
    """What one partition of `metrics.partials` has become so far.

    `marks` holds the watermark message of each source partition, `moved` those not stored yet;
    `dirty` are changed windows, `again` recovered ones to be published as they are; `passed` is,
    per topic, how far windows were closed and forgotten; `late` counts partials that came after.
    """

    windows: dict[CellKey, WindowState] = field(default_factory=dict)
    marks: dict[Source, MetricPartial] = field(default_factory=dict)
    dirty: set[CellKey] = field(default_factory=set)
    again: set[CellKey] = field(default_factory=set)
    moved: set[Source] = field(default_factory=set)
    passed: dict[str, int] = field(default_factory=dict)
    late: int = 0


def take(state: MergeState, partial: MetricPartial, grace: int) -> None:
    """Take in one partial: a newer snapshot of the same source replaces the older one."""
    source = (partial.source.topic, partial.source.partition)
    if not partial.metric:
        held = state.marks.get(source)
        if held is None or held.source.last_offset <= partial.source.last_offset:
            state.marks[source] = partial
            state.moved.add(source)
        return
    _wake(state, source, partial)
    key = cell_key(partial)
    if key not in state.windows and key.end + grace <= state.passed.get(source[0], 0):
        state.late += 1
        return
    window = state.windows.setdefault(key, WindowState())
    older = window.partials.get(source)
    if older is None or older.source.last_offset < partial.source.last_offset:
        window.partials[source] = partial
        state.dirty.add(key)


def _wake(state: MergeState, source: Source, partial: MetricPartial) -> None:
    """New events end a source's idleness, though its next watermark message is still to come."""
    mark = state.marks.get(source)
    if mark is not None and mark.idle and mark.source.last_offset < partial.source.last_offset:
        state.marks[source] = mark.model_copy(update={"idle": False})
        state.moved.add(source)


def watermark(state: MergeState, topic: str, partitions: int) -> int:
    """The smallest watermark over the partitions of a topic that are not idle.

    0 while one of them has not reported yet; SILENT when all are idle: then nothing is on its
    way and every window may close.
    """
    marks = [state.marks.get((topic, number)) for number in range(partitions)]
    known = [mark for mark in marks if mark is not None]
    if len(known) < partitions:
        return 0
    return min((to_microseconds(mark.watermark) for mark in known if not mark.idle), default=SILENT)


def publish(
    state: MergeState, catalogue: Catalogue, partitions_of: Callable[[str], int]
) -> Iterator[tuple[CellKey, MetricWindow]]:
    """The windows to publish now: changed ones, those the watermark has passed, recovered ones.

    A final window that changes again is published with the next revision.
    """
    marks = {topic: watermark(state, topic, partitions_of(topic)) for topic in catalogue.topics()}
    for key in sorted(state.windows):
        window, metric = state.windows[key], catalogue.metrics.get(key.metric)
        if metric is None:
            continue
        mark = marks[metric.event]
        closes = not window.final and key.end <= mark
        if not closes and key not in state.dirty and key not in state.again:
            continue
        window.revision += window.final and key in state.dirty
        window.final |= closes
        state.dirty.discard(key)
        state.again.discard(key)
        yield key, merged(key, window, metric, mark)


def expired(
    state: MergeState, catalogue: Catalogue, partitions_of: Callable[[str], int], grace: int
) -> list[CellKey]:
    """Final windows that no event can reach any more; they are removed."""
    for topic in catalogue.topics():
        mark = watermark(state, topic, partitions_of(topic))
        if mark != SILENT:
            state.passed[topic] = max(mark, state.passed.get(topic, 0))
    gone = [key for key, window in state.windows.items() if _is_past(state, key, window, grace)]
    for key in gone:
        del state.windows[key]
    return gone


def _is_past(state: MergeState, key: CellKey, window: WindowState, grace: int) -> bool:
    topics = {topic for topic, _ in window.partials}
    return window.final and all(key.end + grace <= state.passed.get(name, 0) for name in topics)


def merged(key: CellKey, window: WindowState, metric: Metric, mark: int) -> MetricWindow:
    """The window over all its partials; integers are added, so their order does not matter."""
    partials = [window.partials[source] for source in sorted(window.partials)]
    count, errors = sum(p.count for p in partials), sum(p.errors for p in partials)
    sums = [p.sum for p in partials if p.sum is not None]
    scale = metric.value_scale()
    low = min((p.min for p in partials if p.min is not None), default=None)
    high = max((p.max for p in partials if p.max is not None), default=None)
    asked = set(metric.aggregates)
    buckets = _merged_buckets(partials) if "quantiles" in asked else None
    length = (key.end - key.start) / 1_000_000
    return MetricWindow(
        metric=key.metric,
        unit=metric.unit,
        window=_window_text(metric, length),
        window_start=to_time(key.start),
        window_end=to_time(key.end),
        dimensions=partials[0].dimensions,
        count=count,
        errors=errors,
        sum=sum(sums) / scale if sums and "sum" in asked else None,
        min=low / scale if low is not None and "min" in asked else None,
        max=high / scale if high is not None and "max" in asked else None,
        mean=sum(sums) / scale / count if sums and count and "mean" in asked else None,
        rate=count / length,
        error_ratio=errors / count if count else 0.0,
        quantiles=_quantiles(buckets, metric, low, high),
        histogram=histogram_of(buckets, metric) if buckets is not None else None,
        final=window.final,
        revision=window.revision,
        watermark=to_time(min(mark, key.end) if mark == SILENT else mark),
        sources=[partial.source for partial in partials],
    )


def _window_text(metric: Metric, seconds: float) -> str:
    return next(text for text in metric.windows if window_length(text).total_seconds() == seconds)


def _merged_buckets(partials: list[MetricPartial]) -> Buckets:
    buckets = Buckets()
    for partial in partials:
        buckets.add(buckets_of(partial.histogram))
    return buckets


def _quantiles(
    buckets: Buckets | None, metric: Metric, low: int | None, high: int | None
) -> dict[str, float]:
    if buckets is None or low is None or high is None:
        return {}
    scale = metric.value_scale()
    return quantiles(buckets, metric.histogram_scale, metric.quantiles, low / scale, high / scale)
