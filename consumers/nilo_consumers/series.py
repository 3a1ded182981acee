"""The newest window of each series, and counters made of final windows, for a scrape."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from prometheus_client import Metric
from prometheus_client.registry import Collector

from nilo_consumers.names import labels_of, metric_name
from nilo_schemas.results import MetricWindow

EXPIRES = timedelta(minutes=15)
_COUNTED_BACK = timedelta(hours=1)  # a revision of an older window is no longer counted
_IN_UNIT = ("sum", "min", "max", "mean")
_PLAIN = ("count", "errors", "rate", "error_ratio")
SeriesKey = tuple[str, str, tuple[tuple[str, str], ...]]


@dataclass
class _Series:
    newest: MetricWindow
    updated: float
    events: int = 0
    errors: int = 0
    counted: dict[datetime, tuple[int, int]] = field(default_factory=dict)


class WindowCollector(Collector):
    """Holds windows for /metrics. A series that nothing updates for EXPIRES is dropped.

    `add` and `collect` may run in different threads; a scrape holds the lock only to copy.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._series: dict[SeriesKey, _Series] = {}
        self._lock = threading.Lock()

    def add(self, windows: Iterable[MetricWindow]) -> None:
        """Take windows in the order of their topic."""
        now = self._clock()
        with self._lock:
            for window in windows:
                self._add(window, now)
            self._expire(now)

    def collect(self) -> Iterator[Metric]:
        """The gauges and counters, one Metric for each name."""
        with self._lock:
            self._expire(self._clock())
            held = [(one.newest, one.events, one.errors) for one in self._series.values()]
        families: dict[str, Metric] = {}
        for newest, _, _ in held:
            _gauges(families, newest)
        for newest, events, errors in _shortest(held):
            _counters(families, newest, events, errors)
        yield from families.values()

    def _add(self, window: MetricWindow, now: float) -> None:
        key = (window.metric, window.window, tuple(sorted(window.dimensions.items())))
        series = self._series.setdefault(key, _Series(window, now))
        series.updated = now
        if window.window_start >= series.newest.window_start:
            series.newest = window
        if window.final:
            _count(series, window)

    def _expire(self, now: float) -> None:
        limit = now - EXPIRES.total_seconds()
        for key in [key for key, one in self._series.items() if one.updated < limit]:
            del self._series[key]


def _count(series: _Series, window: MetricWindow) -> None:
    """Add what this revision has more than the one counted before, so each event counts once."""
    oldest = series.newest.window_start - _COUNTED_BACK
    if window.window_start < oldest:
        return
    events, errors = series.counted.get(window.window_start, (0, 0))
    series.events += max(0, window.count - events)
    series.errors += max(0, window.errors - errors)
    series.counted[window.window_start] = max(window.count, events), max(window.errors, errors)
    for start in [start for start in series.counted if start < oldest]:
        del series.counted[start]


def _shortest(
    held: list[tuple[MetricWindow, int, int]],
) -> Iterator[tuple[MetricWindow, int, int]]:
    """The series of each metric's shortest window: longer ones hold the same events again."""
    lengths: dict[str, timedelta] = {}
    for window, _, _ in held:
        lengths[window.metric] = min(_length(window), lengths.get(window.metric, timedelta.max))
    yield from (one for one in held if _length(one[0]) == lengths[one[0].metric])


def _length(window: MetricWindow) -> timedelta:
    return window.window_end - window.window_start


def _gauges(families: dict[str, Metric], window: MetricWindow) -> None:
    labels = {"window": window.window, **labels_of(window.dimensions)}
    in_unit = {name: getattr(window, name) for name in _IN_UNIT} | window.quantiles
    for aggregate, value in in_unit.items():
        if value is not None:
            name = metric_name(window.metric, aggregate, window.unit)
            _sample(families, name, "gauge", labels, float(value))
    for aggregate in _PLAIN:
        name = metric_name(window.metric, aggregate)
        _sample(families, name, "gauge", labels, float(getattr(window, aggregate)))


def _counters(families: dict[str, Metric], window: MetricWindow, events: int, errors: int) -> None:
    labels = labels_of(window.dimensions)
    for aggregate, value in (("events", events), ("errors", errors)):
        name = metric_name(window.metric, aggregate) + "_total"
        _sample(families, name, "counter", labels, float(value))


def _sample(
    families: dict[str, Metric], name: str, kind: str, labels: dict[str, str], value: float
) -> None:
    # prometheus_client adds `_total` to a counter's own name and no other ending.
    family = name.removesuffix("_total") if kind == "counter" else name
    if name not in families:
        about = f"{name.replace('_', ' ')}, from metrics.windows"
        families[name] = Metric(family, about, kind)
    families[name].add_sample(name, labels, value)
