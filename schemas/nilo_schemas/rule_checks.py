"""Holds the rules against the metrics: an unknown aggregate, unit, label or metric is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta

from nilo_schemas.catalogue import Metric
from nilo_schemas.rules import PERIODS, Condition, Rule, parse_condition
from nilo_schemas.windows import Window, parse_window, window_length

Problems = Iterator[tuple[str, str]]
# How many of the metric's unit, or of one, the units of a bound are.
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_SHARE = {"%": 0.01}
_UNITS = {
    "seconds": _SECONDS,
    "bytes": _BYTES,
    "dollars": {"$": 1.0, "dollars": 1.0},
    "percent": {"%": 1.0},
    "share": _SHARE,
}
_OF_VALUES = {"sum", "min", "max", "mean"}
_ALWAYS = {"count", "rate"}
_IN_BRACES = re.compile(r"\{([\w.]+)\}")
# The long window of a burn rate is kept in so many pieces; five of them are the short one.
BURN_BUCKETS = 60
SUMMABLE = {"count", "errors", "sum"}
# Values that a rule holds for each series, at most.
LONGEST_LOOK_BACK = 200


def rule_window(rule: Rule, metric: Metric) -> Window:
    """The windows that a rule looks at: by default the longest of the metric's own tumbling ones.

    Raises:
        ValueError: the metric has no such windows.
    """
    if rule.window is None:
        own = [parse_window(text) for text in metric.windows]
        tumbling = [window for window in own if window.kind == "tumbling"] or own
        return max(tumbling, key=lambda window: window.length)
    found = {window.text: window for window in metric.resolutions()}
    if rule.window not in found:
        raise ValueError(f"the metric has no window {rule.window!r}; it has {', '.join(found)}")
    return found[rule.window]


def bound_of(condition: Condition, metric: Metric) -> float:
    """The number of a condition in the unit of its aggregate; raises ValueError."""
    if condition.unit == "":
        return condition.number
    units = _units(condition, metric)
    if condition.unit not in units:
        known = f"; it takes {', '.join(units)}" if units else ""
        raise ValueError(f"{condition.aggregate} has no unit {condition.unit!r}{known}")
    return condition.number * units[condition.unit]


def _units(condition: Condition, metric: Metric) -> dict[str, float]:
    if condition.divisor or condition.aggregate == "error_ratio":
        return _SHARE
    if condition.aggregate == "rate":
        return {"/s": 1.0, "/m": 1 / 60, "/h": 1 / 3600}
    valued = condition.aggregate in _OF_VALUES or condition.aggregate.startswith("p")
    return {**_UNITS.get(metric.unit, {}), metric.unit: 1.0} if valued and metric.unit else {}


def aggregates_of(metric: Metric) -> set[str]:
    """The aggregates of a metric's windows that a rule may name."""
    asked = set(metric.aggregates)
    found = _ALWAYS | (asked & (_OF_VALUES | {"errors", "distinct"}))
    if metric.error_when:
        found |= {"errors", "error_ratio"}
    if "quantiles" in asked:
        found |= {f"p{q * 100:g}" for q in metric.quantiles}
    return found


def rule_problems(rule: Rule, metrics: Mapping[str, Metric]) -> Problems:
    """What is wrong with a rule: under which key, and what."""
    if rule.metric not in metrics:
        yield "metric", f"unknown metric {rule.metric!r}; `nilo schemas metrics` lists them"
        return
    metric = metrics[rule.metric]
    for key, check in (
        ("window", _check_window),
        ("for", _check_spans),
        (rule.key, _check_kind),
        ("by", _check_by),
        ("equal", _check_equal),
        ("summary", _check_summary),
        ("advice", _check_advice),
    ):
        try:
            check(rule, metric, metrics)
        except ValueError as error:
            yield key, str(error)
            return


def _check_window(rule: Rule, metric: Metric, _metrics: Mapping[str, Metric]) -> None:
    window = rule_window(rule, metric)
    if window.kind == "session" and rule.kind not in ("threshold", "budget"):
        raise ValueError(f"a {rule.kind} rule needs windows that follow one another, no sessions")


def _check_spans(rule: Rule, metric: Metric, _metrics: Mapping[str, Metric]) -> None:
    length = rule_window(rule, metric).length
    rule.windows_for(length)
    rule.windows_kept(length)


def labels_of(rule: Rule, metrics: Mapping[str, Metric]) -> list[str]:
    """The labels that tell the alerts of a rule apart, and that its texts may name in braces."""
    labels = metrics[rule.metric].dimensions if rule.by is None else rule.by
    if rule.kind == "ratio":
        other = metrics[rule.condition().other or ""].dimensions
        return [name for name in labels if name in other]
    return [name for name in labels if name != rule.drift]


def _check_by(rule: Rule, metric: Metric, _metrics: Mapping[str, Metric]) -> None:
    for name in rule.by or ():
        if name not in metric.dimensions:
            known = ", ".join(metric.dimensions) or "none"
            raise ValueError(f"{name!r} is no dimension of {rule.metric}; it has {known}")


def _check_equal(rule: Rule, _metric: Metric, metrics: Mapping[str, Metric]) -> None:
    _check_known(rule.equal, rule, metrics)


def _check_summary(rule: Rule, _metric: Metric, metrics: Mapping[str, Metric]) -> None:
    _check_known(_IN_BRACES.findall(rule.summary or ""), rule, metrics)


def _check_advice(rule: Rule, _metric: Metric, metrics: Mapping[str, Metric]) -> None:
    _check_known(_IN_BRACES.findall(rule.advice), rule, metrics)


def _check_known(names: list[str], rule: Rule, metrics: Mapping[str, Metric]) -> None:
    labels = labels_of(rule, metrics)
    for name in names:
        if name not in labels:
            known = ", ".join(labels) or "none"
            raise ValueError(f"{name!r} is no label of {rule.name}; it has {known}")


def _check_kind(rule: Rule, metric: Metric, metrics: Mapping[str, Metric]) -> None:
    match rule.kind:
        case "no_data":
            window_length(rule.no_data or "")
        case "anomaly":
            _known_aggregate(rule.anomaly or "", metric)
        case "drift":
            _check_drift(rule, metric)
        case "burn_rate":
            _check_burn(rule, metric)
        case _:
            _check_condition(rule, metric, metrics)


def _check_condition(rule: Rule, metric: Metric, metrics: Mapping[str, Metric]) -> None:
    condition = rule.condition()
    _known_aggregate(condition.aggregate, metric)
    if (condition.divisor is not None) != (rule.kind == "ratio"):
        raise ValueError("a ratio is written `ratio: count / llm.calls.count > 10%`")
    if (condition.period is not None) != (rule.kind == "budget"):
        raise ValueError("a budget is written `budget: sum > 50 per day`")
    if rule.kind == "change":
        _check_change(rule, metric, condition)
    else:
        bound_of(condition, metric)
    if rule.kind == "ratio":
        _check_ratio(condition, metric, metrics)
    if rule.kind == "budget":
        _check_budget(condition)
    if rule.clear is not None:
        _check_clear(rule, metric, condition)


def _known_aggregate(aggregate: str, metric: Metric) -> None:
    known = aggregates_of(metric)
    if aggregate not in known:
        raise ValueError(f"no aggregate {aggregate!r}; there are {', '.join(sorted(known))}")


def _check_change(rule: Rule, metric: Metric, condition: Condition) -> None:
    if condition.unit != "%":
        raise ValueError("a change is a share, such as `mean > 50%`")
    hop = rule_window(rule, metric).hop
    look_back = window_length(rule.over or "")
    if look_back % hop or not timedelta(0) < look_back <= LONGEST_LOOK_BACK * hop:
        raise ValueError(
            f"over {rule.over!r} must be 1 to {LONGEST_LOOK_BACK} windows; take longer windows"
        )


def _check_ratio(condition: Condition, metric: Metric, metrics: Mapping[str, Metric]) -> None:
    other = metrics.get(condition.other or "")
    if other is None:
        raise ValueError(f"unknown metric {condition.other!r}")
    if other.event != metric.event:
        raise ValueError(f"{condition.other} is of {other.event}: both must be of one family")
    _known_aggregate(condition.divisor or "", other)
    for aggregate in (condition.aggregate, condition.divisor):
        if aggregate not in SUMMABLE:
            raise ValueError(f"{aggregate} does not add up; there are {', '.join(SUMMABLE)}")


def _check_budget(condition: Condition) -> None:
    if condition.period not in PERIODS:
        raise ValueError(f"per {condition.period!r}: there are {', '.join(PERIODS)}")
    if condition.aggregate not in SUMMABLE or not condition.operator.startswith(">"):
        raise ValueError("a budget is how much of count, errors or sum may be used: `sum > 50`")


def _check_clear(rule: Rule, metric: Metric, condition: Condition) -> None:
    clear = parse_condition(rule.clear or "")
    same = clear._replace(operator=condition.operator, number=condition.number)
    if same._replace(unit=condition.unit) != condition:
        raise ValueError(f"clear {rule.clear!r} must be of the same aggregate as the condition")
    cleared, bound = bound_of(clear, metric), bound_of(condition, metric)
    upward = condition.operator.startswith(">")
    beyond = cleared > bound if upward else cleared < bound
    if beyond or clear.operator.startswith(">") == upward:
        raise ValueError(f"clear {rule.clear!r} must lie on the other side of the condition")


def _check_drift(rule: Rule, metric: Metric) -> None:
    if rule.drift not in metric.dimensions:
        known = ", ".join(metric.dimensions) or "none"
        raise ValueError(f"{rule.drift!r} is no dimension of {rule.metric}; it has {known}")
    shares = (rule.against or {}).values()
    if rule.against is not None and (min(shares, default=0) <= 0 or abs(sum(shares) - 1) > 1e-6):
        raise ValueError("the shares of a golden mix are above 0 and add up to 1")


def _check_burn(rule: Rule, metric: Metric) -> None:
    rule.allowed()
    over, hop = rule.burn().over, rule_window(rule, metric).length
    if "error_ratio" not in aggregates_of(metric):
        raise ValueError("a burn rate needs a metric with error_when")
    if over % (BURN_BUCKETS * hop):
        raise ValueError(f"windows of {hop} do not fit into a sixtieth of {over}")


def runbook_is_url(runbook: str) -> bool:
    """Whether a runbook is an address; else it is a file beside the catalogue."""
    return re.match(r"https?://", runbook) is not None
