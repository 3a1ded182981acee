"""What to change about rules and metrics, with the figures that say so. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from statistics import median
from typing import Any

from nilo_cli.advising.census import DOLLARS, Census
from nilo_cli.advising.listener import Listener
from nilo_cli.advising.week import Episode, RuleWeek, Week
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.detect.transition import time_of
from nilo_stream_processors.engine.detect.wording import labelled, span, told
from nilo_stream_processors.engine.series import labels_of

# From which share of the time on a rule fires most of the time, and from how many episodes a day of
# one series on it flaps.
MOSTLY, FLAPS = 0.5, 4
_TOP = 3
_ADJUSTABLE = {"threshold", "change", "ratio", "budget", "burn_rate", "no_data"}


@dataclass(frozen=True)
class Advice:
    """A finding about a rule or a metric, what to do about it, and the figures behind it."""

    kind: str
    about: str
    finding: str
    advice: str
    figures: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """It as JSON has it."""
        return asdict(self)


def advice_of(week: Week) -> Iterator[Advice]:
    """All advice, the most pressing kind first."""
    rules = list(week.rules.values())
    seen = [rule for rule in rules if rule.listener.judged]
    found = [_firing(rule, week) for rule in seen]
    found += [_flapping(rule, week) for rule in seen]
    found += [_never(rule, week) for rule in rules if not rule.episodes]
    yield from (each for each in found if each)
    yield from _costs(week)
    yield from _most_series(week)
    yield from (_undocumented(rule.rule) for rule in rules if _lacks(rule.rule))


# Rules


def _firing(rule: RuleWeek, week: Week) -> Advice | None:
    """Rules that fire always or most of the time."""
    share = _covered(rule.episodes) / max(1, week.last - week.first)
    if share < MOSTLY:
        return None
    worst, longest = _worst(rule.episodes)
    own = longest / max(1, week.last - week.first)
    series = len({each.series for each in rule.episodes})
    return Advice(
        "always_fires",
        rule.rule.name,
        f"active {told(share, 'share')} of the time, over {series} series; "
        f"{worst} alone {told(own, 'share')}",
        _bound_advice(rule, week),
        {"share": share, "series": series, "episodes": len(rule.episodes), "worst_share": own},
    )


def _flapping(rule: RuleWeek, week: Week) -> Advice | None:
    """Rules and detectors whose alerts come and go."""
    counts: dict[str, int] = {}
    for each in rule.episodes:
        counts[each.series] = counts.get(each.series, 0) + 1
    days = max(1.0, week.days)
    series = max(counts, key=lambda name: counts[name], default="")
    if not series or counts[series] / days < FLAPS:
        return None
    lengths = [(each.end - each.start) // rule.hop for each in rule.episodes]
    typical, kept = int(median(lengths)), rule.rule.windows_kept(timedelta(microseconds=rule.hop))
    more = max(1, typical - kept + 1)
    needed = rule.listener.needed + more
    left = sum(length >= more + kept for length in lengths)
    shortest = span(typical * rule.hop)
    return Advice(
        "flaps",
        rule.rule.name,
        f"{len(lengths)} episodes, {counts[series] / days:.3g} a day of {_series(series)}; half of "
        f"them last {shortest} at most",
        f"`for: {needed} windows` would have kept {left} of them" + _clear_advice(rule.rule),
        {
            "episodes": len(lengths),
            "a_day": counts[series] / days,
            "median_windows": typical,
            "for": needed,
            "kept": left,
        },
    )


def _never(rule: RuleWeek, week: Week) -> Advice:
    """Rules that never fired, and by how much."""
    listener = rule.listener
    nearest = listener.nearest()
    if nearest is None or listener.threshold is None:
        return Advice(
            "never_fires",
            rule.rule.name,
            f"never fired: {rule.rule.metric} had no window that it could judge",
            "see that these events come, or set `enabled: false`",
            {"judged": listener.judged},
        )
    value, bound = (told(each, listener.unit) for each in (nearest.value, listener.threshold))
    where = labelled(_named(listener, nearest.key))
    return Advice(
        "never_fires",
        rule.rule.name,
        f"never fired; the nearest was {value} of {bound}"
        + (f", {where}" if where else "")
        + f", at {time_of(nearest.end):%m-%d %H:%M}",
        _bound_advice(rule, week),
        {
            "judged": listener.judged,
            "nearest": nearest.value,
            "bound": listener.threshold,
            "missed_by": abs(listener.threshold - nearest.value),
            "once_a_day": listener.once_a_day(week.days),
        },
    )


def _bound_advice(rule: RuleWeek, week: Week) -> str:
    """Which bound would have fired about once a day."""
    listener = rule.listener
    bound = listener.once_a_day(week.days)
    if rule.rule.kind not in _ADJUSTABLE:
        return "the detector sets its own bound: ask whether this series is worth an alert"
    if bound is None:
        return "too little was seen to tell a better bound"
    limit = "" if rule.episodes else "; a limit that must never be reached is right as it is"
    return f"a bound of {told(bound, listener.unit)} would have fired about once a day{limit}"


def _clear_advice(rule: Rule) -> str:
    return "; `clear:` with a bound of its own calms it too" if rule.when and not rule.clear else ""


def _lacks(rule: Rule) -> bool:
    return not rule.runbook or not rule.advice


def _undocumented(rule: Rule) -> Advice:
    missing = [name for name in ("runbook", "advice") if not getattr(rule, name)]
    return Advice(
        "undocumented",
        rule.name,
        f"has no {' and no '.join(missing)}",
        "; ".join(_WRITE[name] for name in missing),
        {"missing": missing},
    )


_WRITE = {
    "runbook": "`runbook:` a file beside the catalogue, or https://…",
    "advice": "`advice:` what to look at first",
}


# Metrics


def _costs(week: Week) -> Iterator[Advice]:
    """The series that cost most."""
    for name, census in week.metrics.items():
        total = math.fsum(census.dollars.values())
        if not total:
            continue
        top = sorted(census.dollars.items(), key=lambda each: -each[1])[:_TOP]
        parts = [
            f"{labelled(census.named(series)) or 'all'} {told(cost, DOLLARS)} "
            f"({told(cost / total, 'share')})"
            for series, cost in top
        ]
        limit = told(1.5 * total / max(1.0, week.days))
        budget = any(r.rule.metric == name and r.rule.kind == "budget" for r in week.rules.values())
        yield Advice(
            "costs",
            name,
            f"{told(total, DOLLARS)}: {', '.join(parts)}",
            "its budget is watched"
            if budget
            else f"`budget: sum > {limit} per day` would tell of half as much again",
            {"total": total, "top": [[census.named(series), cost] for series, cost in top]},
        )


def _most_series(week: Week) -> Iterator[Advice]:
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


def _cap_advice(census: Census, widest: str) -> str:
    if census.capped:
        return f"it is capped: raise `max_series`, or leave {widest} out of the dimensions"
    room = _rounded(1.5 * census.series)
    if census.metric.max_series is None:
        return f"`max_series: {room}` would keep it from growing unseen"
    return f"`max_series` is {census.metric.max_series:,}"


# Words and sums


def _covered(episodes: list[Episode]) -> int:
    """For how long at least one of them lasted, µs."""
    covered, reached = 0, 0
    for each in sorted(episodes, key=lambda each: each.start):
        covered += max(0, each.end - max(each.start, reached))
        reached = max(reached, each.end)
    return covered


def _worst(episodes: list[Episode]) -> tuple[str, int]:
    """The series that was active for longest, in words, and for how long, µs."""
    sums: dict[str, int] = {}
    for each in episodes:
        sums[each.series] = sums.get(each.series, 0) + each.end - each.start
    worst = max(sums, key=lambda name: sums[name])
    return _series(worst), sums[worst]


def _series(text: str) -> str:
    return labelled(json.loads(text)) or "its one series"


def _named(listener: Listener, key: str) -> dict[str, str]:
    labels = listener.labels
    return dict(zip(labels, labels_of(key, len(labels)), strict=True))


def _rounded(value: float) -> int:
    """Upwards, to two digits that count."""
    step = int(10 ** max(0, math.floor(math.log10(value)) - 1))
    return math.ceil(value / step) * step
