"""What the metrics of one family share: which of them are counted in the same cells.

Tumbling, hopping and rolled-up windows of a metric are all made of panes: stretches of event time
of one length that divides all of theirs. Metrics with the same selection, dimensions and panes
share a grouping, so that a batch is grouped once for all of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from math import gcd

from nilo_schemas.catalogue import Condition, Metric
from nilo_schemas.windows import Window

MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Grouping:
    """Metrics that select the same events and cut them into the same cells.

    `pane` is the length of a pane and 0 for sessions, `gap` that of a session and 0 for panes,
    both in microseconds; `cap` is the largest number of series in one pane.
    """

    where: dict[str, Condition]
    dimensions: tuple[str, ...]
    pane: int
    gap: int
    cap: int
    metrics: dict[str, Metric] = field(default_factory=dict)


def plan(metrics: dict[str, Metric], series_cap: int) -> list[Grouping]:
    """The groupings of the metrics of one family."""
    found: dict[str, Grouping] = {}
    for name, metric in metrics.items():
        for pane, gap in cuts(metric):
            cap = metric.max_series or series_cap
            where = {field: test.model_dump() for field, test in sorted(metric.where.items())}
            # Where a session begins and ends depends on which events have the value.
            value = metric.value if gap else None
            key = json.dumps([where, metric.dimensions, pane, gap, cap, value], default=str)
            new = Grouping(metric.where, tuple(metric.dimensions), pane, gap, cap)
            found.setdefault(key, new).metrics[name] = metric
    return list(found.values())


def cuts(metric: Metric) -> list[tuple[int, int]]:
    """Pane length and gap of all cells that a metric needs, in microseconds."""
    sessions = [(0, microseconds(w.length)) for w in metric.resolutions() if w.kind == "session"]
    pane = pane_length(metric)
    return [(pane, 0), *sessions] if pane else sessions


def pane_length(metric: Metric) -> int:
    """Microseconds of the panes of a metric; 0 when it has only sessions."""
    return gcd(*(microseconds(w.hop) for w in metric.resolutions() if w.kind != "session"))


def microseconds(length: timedelta) -> int:
    """A length of time in microseconds."""
    return length // MICROSECOND


def grids(window: Window) -> list[tuple[int, int]]:
    """Length and phase, in microseconds, of the tumbling windows that make up a window's kind.

    A hopping window of 5m/1m is five grids of five minutes, each a minute behind the other.
    """
    length, hop = microseconds(window.length), microseconds(window.hop)
    return [(length, phase) for phase in range(0, length, hop)]
