"""What came of a stream, in figures: episodes by rule, and the largest ones with a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from nilo_schemas.alerts import Alert, AlertState
from nilo_schemas.catalogue import Catalogue
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.series import text_of
from tests.bench.trace_engine import SECOND, Detected

DAY = 86_400_000_000
BEFORE, AFTER = 30, 10  # windows in a picture
_BLOCKS = "▁▂▃▄▅▆▇█"


def episodes(found: Detected) -> list[Alert]:
    """The transition with which each episode began to fire."""
    first: dict[tuple[str, Any], Alert] = {}
    for alert in found.alerts:
        if alert.state is AlertState.FIRING:
            first.setdefault((alert.fingerprint, alert.starts_at), alert)
    return list(first.values())


def size(alert: Alert) -> float:
    """How far out: in usual deviations for an anomaly, else in times of the bound."""
    if alert.value is None:
        return 0.0
    if alert.spread is not None and alert.baseline is not None:
        return abs(alert.value - alert.baseline) / max(alert.spread, 1e-12)
    return abs(alert.value / alert.threshold) if alert.threshold else 0.0


def largest(traces: dict[str, Detected], many: int) -> list[tuple[str, Alert]]:
    """The episodes with the highest scores, of equal ones the largest; with their traces."""
    found = [(trace, alert) for trace, each in traces.items() for alert in episodes(each)]
    return sorted(found, key=lambda each: (-(each[1].score or 0), -size(each[1])))[:many]


def figures(found: Detected, catalogue: Catalogue) -> dict[str, Any]:
    """How much there was, and what the rules made of it."""
    joined = {place: Closed.joined(parts) for place, parts in found.windows.items()}
    days = {(name, *each) for (name, _), rows in joined.items() for each in _days(rows)}
    of_metric = Counter(name for name, *_ in days)
    by_rule = Counter(alert.rule for alert in episodes(found))
    watched = {rule: of_metric[catalogue.rules[rule].metric] for rule in catalogue.rules}
    return {
        "events": found.events,
        "late": found.late,
        "windows": sum(map(len, joined.values())),
        "series": len({(name, series) for name, series, _ in days}),
        "series_days": len(days),
        "transitions": len(found.alerts),
        "episodes": by_rule.total(),
        "capped": found.capped,
        "rules": {
            rule: {
                "episodes": by_rule[rule],
                "series_days": many,
                "per_series_day": round(by_rule[rule] / many, 3),
            }
            for rule, many in sorted(watched.items())
            if many
        },
    }


def _days(rows: Closed) -> Iterable[tuple[str, int]]:
    return zip(rows.series.tolist(), (rows.start // DAY).tolist(), strict=True)


def told(trace: str, alert: Alert, found: Detected, catalogue: Catalogue) -> dict[str, Any]:
    """An episode in figures, in words and as a picture."""
    return {
        "trace": trace,
        "rule": alert.rule,
        "labels": alert.labels,
        "window_start": f"{alert.window_start:%Y-%m-%dT%H:%M:%SZ}",
        "window": alert.window,
        "score": alert.score,
        "size": round(size(alert), 2),
        "reason": alert.reason,
        "picture": picture(alert, found, catalogue),
        "sources": [source.model_dump() for source in alert.sources],
    }


def picture(alert: Alert, found: Detected, catalogue: Catalogue) -> str:
    """The windows around the one that it began to fire with, which stands in brackets.

    A dot is no window; empty for an alert that is not about one series of its metric.
    """
    dimensions = catalogue.metrics[alert.metric].dimensions
    parts = found.windows.get((alert.metric, alert.window))
    if not parts or set(alert.labels) != set(dimensions) or alert.window_end is None:
        return ""
    rows = Closed.joined(parts)
    rows = rows.take(np.flatnonzero(rows.series == text_of([alert.labels[d] for d in dimensions])))
    known = dict(zip(rows.end.tolist(), rows.values(alert.aggregate or "count"), strict=True))
    length = int(rows.end[0] - rows.start[0])
    firing = round(alert.window_end.timestamp() * SECOND)
    ends = firing + length * np.arange(-BEFORE, AFTER + 1)
    blocks = _blocks([float(known.get(end, np.nan)) for end in ends.tolist()])
    return f"{''.join(blocks[:BEFORE])}[{blocks[BEFORE]}]{''.join(blocks[BEFORE + 1 :])}"


def _blocks(values: list[float]) -> list[str]:
    low, high = np.nanmin(values), np.nanmax(values)
    step = (high - low) / (len(_BLOCKS) - 1) or 1.0
    return ["·" if np.isnan(each) else _BLOCKS[round((each - low) / step)] for each in values]
