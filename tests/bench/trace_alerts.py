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
    """How many times its bound an alert is: of a score, so many times as surprising."""
    if alert.value is None or not alert.threshold:
        return 0.0
    if alert.score is not None:
        return _odds(alert.score) / _odds(alert.threshold)
    times = abs(alert.value / alert.threshold)
    return max(times, 1 / times) if times else 0.0


def _odds(score: float) -> float:
    return score / max(1 - score, 1e-9)


def largest(traces: dict[str, Detected], many: int) -> list[tuple[str, list[Alert]]]:
    """The largest episodes; those that began in one window by one rule go together."""
    together: dict[tuple[str, str, Any], list[Alert]] = {}
    for trace, found in traces.items():
        for alert in sorted(episodes(found), key=size, reverse=True):
            together.setdefault((trace, alert.rule, alert.window_end), []).append(alert)
    ordered = sorted(together.items(), key=lambda each: size(each[1][0]), reverse=True)
    return [(trace, alerts) for (trace, *_), alerts in ordered[:many]]


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


def told(trace: str, alerts: list[Alert], found: Detected, catalogue: Catalogue) -> dict[str, Any]:
    """The first of some episodes in figures, in words and as a picture."""
    alert = alerts[0]
    return {
        "trace": trace,
        "rule": alert.rule,
        "labels": alert.labels,
        "others": len(alerts) - 1,
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
