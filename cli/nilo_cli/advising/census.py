"""How many series the metrics make, and what they cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np

from nilo_schemas.catalogue import Metric
from nilo_schemas.windows import Window
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.series import OTHER, labels_of

DOLLARS = "dollars"
_LONGEST = timedelta(hours=1)


def census_window(metric: Metric) -> Window:
    """The windows of a metric by which it is counted: of an hour or less, as long as there are."""
    tumbling = [window for window in metric.resolutions() if window.kind == "tumbling"]
    short = [window for window in tumbling if window.length <= _LONGEST]
    longest = max(short, key=lambda window: window.length, default=None)
    return longest or metric.resolutions()[0]


@dataclass
class Census:
    """The series of one metric: in how many windows, and for how many dollars, each was seen."""

    metric: Metric
    windows: Counter[str] = field(default_factory=Counter)
    dollars: dict[str, float] = field(default_factory=dict)

    def take(self, rows: Closed) -> None:
        """Count windows, one for each."""
        self.windows.update(rows.series.tolist())
        if self.metric.unit != DOLLARS or "sum" not in self.metric.aggregates:
            return
        sums = np.nan_to_num(rows.values("sum")).tolist()
        for series, value in zip(rows.series.tolist(), sums, strict=True):
            self.dollars[series] = self.dollars.get(series, 0.0) + value

    @property
    def series(self) -> int:
        """How many series there are."""
        return len(self.windows)

    @property
    def capped(self) -> bool:
        """Whether some stand for all those beyond the cap."""
        count = len(self.metric.dimensions)
        return any(OTHER in labels_of(series, count) for series in self.windows)

    def named(self, series: str) -> dict[str, str]:
        """The labels of a series by name."""
        dimensions = self.metric.dimensions
        return dict(zip(dimensions, labels_of(series, len(dimensions)), strict=True))

    def values(self) -> dict[str, int]:
        """How many values each dimension has, the one with most first."""
        found = [set[str]() for _ in self.metric.dimensions]
        for series in self.windows:
            for known, label in zip(found, labels_of(series, len(found)), strict=True):
                known.add(label)
        counts = dict(zip(self.metric.dimensions, map(len, found), strict=True))
        return dict(sorted(counts.items(), key=lambda each: -each[1]))
