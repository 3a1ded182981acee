"""The newest window of each series, and counters made of final windows, for a scrape."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from prometheus_client import Metric
from prometheus_client.registry import Collector

from nilo_consumers.names import labels_of, metric_name
from nilo_consumers.tally import Tally
from nilo_schemas.results import MetricWindow
from nilo_schemas.windows import Window, parse_window

EXPIRES = timedelta(minutes=15)
_IN_UNIT = ("sum", "min", "max", "mean")
_PLAIN = ("count", "errors", "rate", "error_ratio")
_COUNTED_FIRST = ("tumbling", "session", "hopping")
SeriesKey = tuple[str, str, tuple[tuple[str, str], ...]]


@dataclass
class _Series:
    kind: Window
    newest: MetricWindow
    updated: float
    tally: Tally


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
            held = [(one.kind, one.newest, one.tally.shown()) for one in self._series.values()]
        families: dict[str, Metric] = {}
        for _, newest, _ in held:
            if not newest.withdrawn:
                _gauges(families, newest)
        for newest, counted in _counted(held):
            _counters(families, newest, *counted)
        yield from families.values()

    def _add(self, window: MetricWindow, now: float) -> None:
        key = (window.metric, window.window, tuple(sorted(window.dimensions.items())))
        series = self._series.get(key)
        if series is None:
            kind = _kind(window)
            series = self._series[key] = _Series(kind, window, now, Tally(kind))
        series.updated = now
        if _follows(window, series.newest):
            series.newest = window
        if window.final:
            series.tally.add(window)

    def _expire(self, now: float) -> None:
        limit = now - EXPIRES.total_seconds()
        for key in [key for key, one in self._series.items() if one.updated < limit]:
            del self._series[key]


def _kind(window: MetricWindow) -> Window:
    try:
        return parse_window(window.window)
    except ValueError:  # of a foreign writer: its numbers are shown as they are
        length = window.window_end - window.window_start
        return Window(window.window, "tumbling", length, length)


def _follows(window: MetricWindow, newest: MetricWindow) -> bool:
    """Whether a window is shown from now on, instead of the newest one so far.

    A session that takes in others ends with the last of them, or later, and begins earlier.
    """
    if window.window_start == newest.window_start:
        return window.revision >= newest.revision
    ends = window.window_end, newest.window_end
    later = ends[0] > ends[1] or (ends[0] == ends[1] and window.window_start < newest.window_start)
    return later and not window.withdrawn


def _counted(
    held: list[tuple[Window, MetricWindow, tuple[int, int]]],
) -> Iterator[tuple[MetricWindow, tuple[int, int]]]:
    """The series of one kind of window for each metric: the others hold the same events again."""
    chosen: dict[str, Window] = {}
    for kind, window, _ in held:
        chosen[window.metric] = min(kind, chosen.get(window.metric, kind), key=_rank)
    for kind, window, counted in held:
        if kind == chosen[window.metric]:
            yield window, counted


def _rank(kind: Window) -> tuple[int, timedelta, str]:
    return _COUNTED_FIRST.index(kind.kind), kind.length, kind.text


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
