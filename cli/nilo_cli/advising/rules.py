"""What to change about rules: those that never fire, always fire, flap, or say nothing. Pure."""

from __future__ import annotations

import json
from datetime import timedelta
from statistics import median

from nilo_cli.advising.finding import Advice
from nilo_cli.advising.listener import Listener
from nilo_cli.advising.week import RuleWeek, Week
from nilo_cli.rerun.episodes import Episode
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.detect.transition import time_of
from nilo_stream_processors.engine.detect.wording import labelled, span, told
from nilo_stream_processors.engine.series import labels_of

# From which share of the time on a rule fires most of the time, and from how many episodes a day of
# one series on it flaps.
MOSTLY, FLAPS = 0.5, 4
_ADJUSTABLE = {"threshold", "change", "ratio", "budget", "burn_rate", "no_data"}


def firing(rule: RuleWeek, week: Week) -> Advice | None:
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


def flapping(rule: RuleWeek, week: Week) -> Advice | None:
    """Rules and detectors whose alerts come and go."""
    counts: dict[str, int] = {}
    for each in rule.episodes:
        counts[each.series] = counts.get(each.series, 0) + 1
    days = max(1.0, week.days)
    series = max(counts, key=lambda name: counts[name], default="")
    if not series or counts[series] / days < FLAPS:
        return None
    lengths = [(each.end - each.fired) // rule.hop for each in rule.episodes]
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


def never(rule: RuleWeek, week: Week) -> Advice:
    """Rules that never fired, and by how much."""
    listener = rule.listener
    nearest = listener.nearest()
    if nearest is None or listener.threshold is None:
        return _without_windows(rule, week)
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


def _without_windows(rule: RuleWeek, week: Week) -> Advice:
    """Rules that had nothing to look at."""
    metric, figures = rule.rule.metric, {"judged": rule.listener.judged}
    if not week.metrics[metric].series:
        finding = f"{metric} has no windows"
        advice = "see that these events come, or set `enabled: false`"
        return Advice("no_windows", rule.rule.name, finding, advice, figures)
    finding = f"could judge no window of {metric}"
    advice = "`nilo alerts why-not` tells what each series has not enough of"
    return Advice("never_judged", rule.rule.name, finding, advice, figures)


def _bound_advice(rule: RuleWeek, week: Week) -> str:
    """Which bound would have fired about once a day."""
    listener = rule.listener
    bound = listener.once_a_day(week.days)
    if rule.rule.kind == "no_data" and not rule.episodes:
        return "no gap was as long: nothing to change"
    if rule.rule.kind not in _ADJUSTABLE:
        return "the detector sets its own bound: ask whether this series is worth an alert"
    if bound is None:
        return "too little was seen to tell a better bound"
    limit = "" if rule.episodes else "; a limit that must never be reached is right as it is"
    return f"a bound of {told(bound, listener.unit)} would have fired about once a day{limit}"


def _clear_advice(rule: Rule) -> str:
    return "; `clear:` with a bound of its own calms it too" if rule.when and not rule.clear else ""


def undocumented(rule: Rule) -> Advice | None:
    """Rules without runbook or advice."""
    missing = [name for name in ("runbook", "advice") if not getattr(rule, name)]
    if not missing:
        return None
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


def _covered(episodes: list[Episode]) -> int:
    """For how long at least one of them lasted, µs."""
    covered, reached = 0, 0
    for each in sorted(episodes, key=lambda each: each.fired):
        covered += max(0, each.end - max(each.fired, reached))
        reached = max(reached, each.end)
    return covered


def _worst(episodes: list[Episode]) -> tuple[str, int]:
    """The series that was active for longest, in words, and for how long, µs."""
    sums: dict[str, int] = {}
    for each in episodes:
        sums[each.series] = sums.get(each.series, 0) + each.end - each.fired
    worst = max(sums, key=lambda name: sums[name])
    return _series(worst), sums[worst]


def _series(text: str) -> str:
    return labelled(json.loads(text)) or "its one series"


def _named(listener: Listener, key: str) -> dict[str, str]:
    labels = listener.labels
    return dict(zip(labels, labels_of(key, len(labels)), strict=True))
