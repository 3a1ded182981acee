"""What `nilo advise` says of two days of windows made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nilo_cli.advising.advice import advice_of
from nilo_cli.advising.finding import Advice
from nilo_cli.advising.week import Week
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.results import MetricWindow
from tests.window_tables import window_table
from tests.windows_of import START, catalogue, microseconds, window

# Two days of windows of ten minutes.
COUNT, SIZE = 288, "10m"
DOCUMENTED = {"advice": "look", "runbook": "https://runbooks.test/1"}


def advised(known: Catalogue, windows: list[MetricWindow]) -> list[Advice]:
    week = Week(known, 1000, 1)
    half = len(windows) // 2
    for first, some in ((0, windows[:half]), (half, windows[half:])):
        rows = window_table(some, first=first)
        week.take(rows, microseconds(START) if not first else week.last)
    week.finish()
    return list(advice_of(week))


def means(
    value: Callable[[int], float], labels: Mapping[str, str] | None = None
) -> list[MetricWindow]:
    return [window(number, labels, window=SIZE, mean=value(number)) for number in range(COUNT)]


def of_kind(kind: str, found: list[Advice]) -> list[Advice]:
    return [each for each in found if each.kind == kind]


def rule(**fields: Any) -> dict[str, Any]:
    return {"when": "mean > 2s", **DOCUMENTED, **fields}


def of_calls(*rules: Mapping[str, Any], **fields: Any) -> Catalogue:
    return catalogue(*rules, metrics={"calls": {"windows": [SIZE], **fields}})


def test_a_rule_that_never_fired_says_by_how_much_and_which_bound_would_have() -> None:
    def value(number: int) -> float:
        """One peak a day, of 1.5 and 1.8 s."""
        return {60: 1.5, 200: 1.8}.get(number, 0.2)

    (found,) = of_kind("never_fires", advised(of_calls(rule()), means(value)))
    assert found.about == "Rule"
    assert found.finding == "never fired; the nearest was 1.8 s of 2 s, model=atlas, at 11-03 09:30"
    assert found.figures["missed_by"] == 2 - 1.8
    assert found.figures["once_a_day"] == 1.5
    assert "a bound of 1.5 s would have fired about once a day" in found.advice


def test_a_peak_counts_only_if_it_lasts_as_long_as_the_rule_wants() -> None:
    def value(number: int) -> float:
        return {60: 1.9, 70: 1.2, 71: 1.3, 72: 1.4}.get(number, 0.2)

    known = of_calls(rule(**{"for": "3 windows"}))
    (found,) = of_kind("never_fires", advised(known, means(value)))
    assert found.figures["nearest"] == 1.2


def test_a_rule_that_looks_for_small_values_misses_its_bound_from_above() -> None:
    known = of_calls(rule(when="mean < 1s"))
    (found,) = of_kind("never_fires", advised(known, means(lambda number: 3 - number / COUNT)))
    assert 2.0 < found.figures["nearest"] < 2.01
    assert found.figures["bound"] == 1.0


def test_rules_that_could_not_judge_and_rules_without_windows_are_told_apart() -> None:
    metrics = {"calls": {"windows": [SIZE]}, "others": {}}
    known = catalogue(rule(min_count=50), rule(name="Idle", metric="others"), metrics=metrics)
    found = advised(known, means(lambda _: 9))
    assert [each.about for each in of_kind("never_judged", found)] == ["Rule"]
    assert [each.finding for each in of_kind("no_windows", found)] == ["others has no windows"]


def test_a_rule_that_fires_most_of_the_time_says_for_how_much_of_it() -> None:
    found = advised(of_calls(rule()), means(lambda number: 3 if number % 144 < 108 else 1))
    (mostly,) = of_kind("always_fires", found)
    assert mostly.figures["share"] == 0.75
    assert "active 75 % of the time, over 1 series; model=atlas alone 75 %" in mostly.finding
    assert of_kind("never_fires", found) == []
    assert advised(of_calls(rule()), means(lambda number: 3 if number < 100 else 1)) == []


def test_what_is_active_to_the_end_counts_up_to_there() -> None:
    (mostly,) = of_kind("always_fires", advised(of_calls(rule()), means(lambda _: 3)))
    assert mostly.figures["share"] > 0.99


def test_a_rule_that_flaps_says_how_often_and_which_patience_would_calm_it() -> None:
    def value(number: int) -> float:
        """Above the bound for two windows every three hours, and once for seven."""
        return 3 if number % 18 < 2 or 90 <= number < 97 else 1

    (found,) = of_kind("flaps", advised(of_calls(rule()), means(value)))
    assert (found.figures["episodes"], found.figures["a_day"]) == (16, 8.0)
    assert found.figures["median_windows"] == 2
    assert found.advice.startswith("`for: 3 windows` would have kept 1 of them; `clear:`")


def test_the_series_that_cost_most_come_with_their_shares() -> None:
    cost = {"unit": "dollars", "value": "cost", "aggregates": ["count", "sum"]}
    known = of_calls(**cost)
    windows = [
        window(number, {"model": model}, window=SIZE, sum=dollars, unit="dollars")
        for number in range(COUNT)
        for model, dollars in (("atlas", 0.3), ("pico", 0.1))
    ]
    (found,) = of_kind("costs", advised(known, windows))
    assert [labels for labels, _ in found.figures["top"]] == [{"model": "atlas"}, {"model": "pico"}]
    assert "115.20 $: model=atlas 86.40 $ (75 %), model=pico 28.80 $ (25 %)" in found.finding
    assert "`budget: sum > 86.40 per day`" in found.advice


def test_the_metrics_that_make_most_series_say_by_which_dimension() -> None:
    known = of_calls(dimensions=["model", "user"])
    windows = [
        window(place, {"model": "atlas", "user": f"u{number}"}, window=SIZE)
        for place in range(2)
        for number in range(120)
    ]
    (found,) = of_kind("series", advised(known, windows))
    assert found.figures["values"] == {"user": 120, "model": 1}
    assert "120 series" in found.finding
    assert "user has 120 values" in found.finding
    assert found.advice == "`max_series: 180` would keep it from growing unseen"


def test_a_metric_that_is_capped_says_so() -> None:
    windows = [window(0, {"model": name}, window=SIZE) for name in ("atlas", "__other__")]
    (found,) = of_kind("series", advised(of_calls(), windows))
    assert "it is capped" in found.advice


def test_rules_without_runbook_or_advice_are_listed() -> None:
    known = of_calls({"when": "mean > 2s", "advice": "look"}, rule(name="Other"))
    found = of_kind("undocumented", advised(known, means(lambda _: 1)))
    assert [(each.about, each.finding) for each in found] == [("Rule", "has no runbook")]
