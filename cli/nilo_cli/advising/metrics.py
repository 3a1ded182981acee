"""What to change about metrics: the series that cost most, the metrics that make most. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from nilo_cli.advising.census import Census
from nilo_cli.advising.finding import Advice
from nilo_cli.advising.week import Week
from nilo_stream_processors.engine.detect.wording import labelled, told

_TOP = 3
# Fewer series than that need no cap.
_MANY = 100


def costs(week: Week) -> Iterator[Advice]:
    """The series that cost most."""
    for name, census in week.metrics.items():
        total = math.fsum(census.dollars.values())
        if not total:
            continue
        top = sorted(census.dollars.items(), key=lambda each: -each[1])[:_TOP]
        parts = [
            f"{_series(census, series)} {_dollars(cost)} ({told(cost / total, 'share')})"
            for series, cost in top
        ]
        limit = f"{1.5 * total / max(1.0, week.days):.2f}"
        budget = any(r.rule.metric == name and r.rule.kind == "budget" for r in week.rules.values())
        yield Advice(
            "costs",
            name,
            f"{_dollars(total)}: {', '.join(parts)}",
            "its budget is watched"
            if budget
            else f"`budget: sum > {limit} per day` would tell of half as much again",
            {"total": total, "top": [[census.named(series), cost] for series, cost in top]},
        )


def most_series(week: Week) -> Iterator[Advice]:
    """The metrics that make most series, and by which dimension."""
    many = sorted(week.metrics.items(), key=lambda each: -each[1].series)[:_TOP]
    for name, census in many:
        if census.series < 2:
            continue
        values = census.values()
        widest = next(iter(values))
        windows = census.windows.total() / max(1.0, week.days)
        yield Advice(
            "series",
            name,
            f"{census.series:,} series, {windows:,.0f} windows a day of those that were counted; "
            f"{widest} has {values[widest]:,} values",
            _cap_advice(census, widest),
            {"series": census.series, "windows_a_day": windows, "values": values},
        )


def _series(census: Census, series: str) -> str:
    known = {name: value for name, value in census.named(series).items() if value}
    return labelled(known) or "all"


def _dollars(value: float) -> str:
    return f"{value:,.2f} $"


def _cap_advice(census: Census, widest: str) -> str:
    if census.capped:
        return f"it is capped: raise `max_series`, or leave {widest} out of the dimensions"
    if census.series < _MANY:
        return "few: nothing to change"
    room = _rounded(1.5 * census.series)
    if census.metric.max_series is None:
        return f"`max_series: {room}` would keep it from growing unseen"
    return f"`max_series` is {census.metric.max_series:,}"


def _rounded(value: float) -> int:
    """Upwards, to two digits that count."""
    step = int(10 ** max(0, math.floor(math.log10(value)) - 1))
    return math.ceil(value / step) * step
