"""What each kind of rule says of windows, in figures."""

from __future__ import annotations

from typing import Any

import pytest

from nilo_schemas.alerts import Alert
from nilo_stream_processors.engine.anomaly import WARM_UP
from tests.detecting import Detecting, told
from tests.windows_of import catalogue, window


def run(*rules: dict[str, Any], values: list[Any], **more: Any) -> list[Alert]:
    """One window a minute of one series; each value is a mean, a dict of fields, or None."""
    stage = Detecting(catalogue(*rules))
    found = []
    for number, value in enumerate(values):
        fields = value if isinstance(value, dict) else {"mean": value}
        windows = [] if value is None else [window(number, **{**more, **fields})]
        found += stage.feed(windows, until=number + 1)
    return found


def test_a_threshold_fires_above_its_bound_and_says_by_how_much() -> None:
    (alert,) = run({"when": "mean > 500ms"}, values=[0.4, 0.5, 0.75])

    assert told([alert]) == [(3, "Rule", "firing")]
    assert (alert.value, alert.threshold, alert.unit) == (0.75, 0.5, "seconds")
    assert alert.reason == "mean 0.75 s (bound: > 0.5 s); 1 window"
    assert [(each.first_offset, each.last_offset) for each in alert.sources] == [(200, 299)]
    assert alert.id == f"{alert.fingerprint}-{int(alert.starts_at.timestamp() * 1e6):x}-1"


def test_with_a_clear_it_ends_only_there() -> None:
    rule = {"when": "mean > 2s", "clear": "mean < 1s"}
    assert told(run(rule, values=[3, 1.5, 1.5, 0.5])) == [
        (1, "Rule", "firing"),
        (4, "Rule", "resolved"),
    ]


def test_windows_with_too_few_events_say_nothing() -> None:
    rule = {"when": "mean > 2s", "min_count": 5}
    assert run(rule, values=[{"mean": 3, "count": 4}] * 3) == []


def test_a_count_without_a_window_is_nought_and_a_mean_is_unknown() -> None:
    few = run({"when": "count < 5"}, values=[0.1, None, 0.1])
    assert told(few) == [(2, "Rule", "firing"), (3, "Rule", "resolved")]
    assert few[0].value == 0

    many = run({"when": "count > 5"}, values=[0.1, None])
    assert told(many) == [(1, "Rule", "firing"), (2, "Rule", "resolved")]

    unknown = run({"when": "mean > 2s"}, values=[3, None, None, None, 3, 0.1])
    assert told(unknown) == [
        (1, "Rule", "firing"),
        (4, "Rule", "no_data"),
        (5, "Rule", "firing"),
        (6, "Rule", "resolved"),
    ]


def test_a_change_is_held_against_the_window_of_then() -> None:
    rule = {"change": "mean > 50%", "over": "3m"}
    values = [1.0, 1.2, 1.4, 1.5, 1.9, 2.0]

    alerts = run(rule, values=values)

    # 1.9 against 1.2 is 58 %; 1.5 against 1.0 is not above 50 %, 2.0 against 1.4 is not either
    assert told(alerts) == [(5, "Rule", "firing"), (6, "Rule", "resolved")]
    assert alerts[0].figures["then"] == 1.2
    assert alerts[0].value == pytest.approx(1.9 / 1.2 - 1)
    # without a window of then there is nothing to say
    assert run(rule, values=[1.0, None, None, None, 9.0]) == []


def test_a_ratio_adds_up_by_the_labels_that_both_metrics_have() -> None:
    both = catalogue(
        {"ratio": "count / calls.count > 10%", "metric": "failures"},
        metrics={"calls": {}, "failures": {"dimensions": ["source", "model"]}},
    )
    stage = Detecting(both)
    windows = [window(0, {"model": "a"}, count=100), window(0, {"model": "b"}, count=100)]
    for source, model, count in (("x", "a", 6), ("y", "a", 5), ("x", "b", 10)):
        labels = {"source": source, "model": model}
        windows.append(window(0, labels, metric="failures", count=count))

    (alert,) = stage.feed(windows)

    assert alert.labels == {"model": "a"}
    assert alert.value == pytest.approx(0.11)
    assert alert.figures == {"failures.count": 11, "calls.count": 100}
    assert stage.feed([window(1, {"model": "a"}, count=100)])[0].state == "resolved"


def test_a_budget_is_used_up_by_all_series_together_and_is_whole_again_the_next_day() -> None:
    stage = Detecting(catalogue({"budget": "sum > 10 per day", "by": []}))
    found = []
    for number in range(3):
        models = ("a", "b")
        found += stage.feed([window(number, {"model": each}, sum=1.7) for each in models])
    found += stage.feed([window(3, {"model": "a"}, sum=0.1)])
    found += stage.feed([window(1440, {"model": "a"}, sum=0.1)])

    assert told(found) == [(3, "Rule", "firing"), (1441, "Rule", "resolved")]
    assert found[0].value == pytest.approx(10.2)
    assert found[0].labels == {}


def test_a_run_has_a_budget_of_its_own() -> None:
    rule = {"budget": "sum > 5 per run"}
    long_run = run(rule, values=[{"sum": 1.0}] * 6)
    assert told(long_run) == [(6, "Rule", "firing")]
    # an hour without anything ends the run
    two_runs = run(rule, values=[{"sum": 1.0}] * 4 + [None] * 60 + [{"sum": 1.0}] * 4)
    assert two_runs == []


def test_silence_fires_after_its_time_and_ends_with_the_next_window() -> None:
    alerts = run({"no_data": "3m"}, values=[1, 1, None, None, None, None, 1])
    assert told(alerts) == [(5, "Rule", "firing"), (7, "Rule", "resolved")]
    assert [(each.first_offset, each.last_offset) for each in alerts[0].sources] == [(100, 199)]


def test_a_burn_rate_needs_both_windows() -> None:
    rule = {"burn_rate": "14.4 over 1h", "objective": "99%"}
    good, bad = {"count": 100}, {"count": 100, "errors": 100}
    # An hour of 6000 calls: 14.4 % of them have failed after nine bad minutes, of all that was
    # seen. The short window of five minutes ends it, though the long one still holds.
    alerts = run(rule, values=[good] * 60 + [bad] * 10 + [good] * 6)

    assert told(alerts) == [(69, "Rule", "firing"), (75, "Rule", "resolved")]
    assert alerts[0].figures["long"] == pytest.approx(15.0)
    assert alerts[1].figures["long"] > 14.4 > alerts[1].figures["short"]


def labelled(number: int, **counts: int) -> list[Any]:
    return [
        window(number, {"model": "m", "label": label}, count=count)
        for label, count in counts.items()
    ]


def test_a_drift_of_the_mix_is_found_and_says_what_has_moved() -> None:
    metrics = {"calls": {"dimensions": ["model", "label"]}}
    stage = Detecting(catalogue({"drift": "label"}, metrics=metrics))
    found = []
    for number in range(100):
        mix = {"yes": 60, "no": 40} if number < 90 else {"yes": 35, "no": 65}
        found += stage.feed(labelled(number, **mix))

    assert told(found)[0] == (91, "Rule", "firing")
    assert found[0].labels == {"model": "m"}
    assert "yes 60 % -> 35 %" in found[0].reason


def test_a_mix_is_not_judged_before_it_was_seen_enough() -> None:
    metrics = {"calls": {"dimensions": ["model", "label"]}}
    stage = Detecting(catalogue({"drift": "label"}, metrics=metrics))
    found = []
    for number in range(50):
        mix = {"yes": 60, "no": 40} if number < 40 else {"yes": 5, "no": 95}
        found += stage.feed(labelled(number, **mix))
    assert found == []


def test_a_golden_mix_is_held_to_from_the_beginning() -> None:
    metrics = {"calls": {"dimensions": ["model", "label"]}}
    rule = {"drift": "label", "against": {"yes": 0.6, "no": 0.4}}
    stage = Detecting(catalogue(rule, metrics=metrics))
    assert stage.feed(labelled(0, yes=60, no=40)) == []
    assert told(stage.feed(labelled(1, yes=20, no=80))) == [(2, "Rule", "firing")]


def test_a_rule_that_is_gone_ends_its_alerts() -> None:
    stage = Detecting(catalogue({"when": "mean > 2s"}))
    stage.feed([window(0, mean=3)])
    stage.commit()
    stage.crash(catalogue({"name": "Other", "when": "mean > 99s"}))

    (alert,) = stage.feed([window(1, mean=3)])

    assert (alert.rule, alert.state, alert.revision) == ("Rule", "resolved", 2)
    assert "no longer" in alert.reason


def test_an_alert_that_is_long_over_is_forgotten_once() -> None:
    stage = Detecting(catalogue({"when": "mean > 2s"}))
    stage.feed([window(0, mean=3)])
    forgotten = []
    for number in range(1, 40):
        stage.feed([window(number, mean=1)])
        forgotten += stage.detection.take_forgotten()
    assert len(forgotten) == 1


def test_more_alerts_than_a_rule_may_have_are_counted() -> None:
    stage = Detecting(catalogue({"when": "mean > 2s"}), cap=5000)
    alerts = stage.feed([window(0, {"model": f"m{number}"}, mean=3) for number in range(1003)])
    assert len(alerts) == 1000
    assert stage.detection.take_capped() == {"Rule": 3}


def test_series_beyond_the_cap_go_in_the_order_of_their_last_window() -> None:
    stage = Detecting(catalogue({"no_data": "2m"}), cap=3)
    stage.feed([window(0, {"model": "old"})])
    stage.feed([window(1, {"model": f"m{number}"}) for number in range(3)])
    alerts = stage.feed([], until=4)
    assert sorted(alert.labels["model"] for alert in alerts) == ["m0", "m1", "m2"]


def test_a_window_that_closed_early_is_looked_at_when_its_time_is_over() -> None:
    """A stream that falls silent closes its windows; what comes then is in a revision."""
    stage = Detecting(catalogue({"when": "count < 5"}))
    assert stage.feed([window(0, count=2)], until=0.5) == []
    assert stage.feed([window(0, count=8, revision=1)], until=1) == []


def test_a_revision_that_comes_after_the_look_changes_nothing() -> None:
    stage = Detecting(catalogue({"when": "mean > 2s"}))
    assert stage.feed([window(0, mean=1)]) == []
    assert stage.feed([window(0, mean=3, revision=1), window(1, mean=1)]) == []


def test_a_withdrawn_session_says_nothing() -> None:
    metrics = {"calls": {"windows": ["session 5m"]}}
    stage = Detecting(catalogue({"when": "mean > 2s"}, metrics=metrics))
    gone = window(0, count=0, window_end=window(1).window_end, mean=None)
    gone = gone.model_copy(update={"window": "session 5m"})
    assert stage.feed([gone], until=9) == []


def test_a_series_that_was_silent_for_a_day_is_taken_to_be_gone() -> None:
    stage = Detecting(catalogue({"no_data": "5m"}))
    stage.feed([window(0)])

    # nobody looks in between: it is all found at once, at the times at which it was so
    alerts = stage.feed([], until=10 * 1440)

    assert told(alerts) == [(6, "Rule", "firing"), (1446, "Rule", "resolved")]
    assert "taken to be gone" in alerts[1].reason
    assert told(stage.feed([window(10 * 1440)], until=10 * 1440 + 6)) == [
        (10 * 1440 + 6, "Rule", "firing")
    ]


@pytest.mark.parametrize(("usual", "fires"), [(10, True), (-10, False)])
def test_silence_is_unusually_little_and_never_unusually_much(usual: float, fires: bool) -> None:
    stage = Detecting(catalogue({"anomaly": "sum"}))
    seen = range(2 * WARM_UP)
    assert stage.feed([window(number, sum=usual + number % 3 / 10) for number in seen]) == []

    alerts = stage.feed([], until=2 * WARM_UP + 3)

    assert [alert.state for alert in alerts] == (["firing"] if fires else [])


@pytest.mark.parametrize(("days", "fires"), [(7, True), (9, False)])
def test_a_series_that_comes_back_after_eight_days_begins_anew(days: int, fires: bool) -> None:
    stage = Detecting(catalogue({"anomaly": "mean"}))
    usual = range(2 * WARM_UP)
    assert stage.feed([window(number, mean=1 + number % 3 / 10) for number in usual]) == []

    # nothing else is there whose windows would have moved the clock meanwhile
    alerts = stage.feed([window(days * 1440 + 2 * WARM_UP + number, mean=50) for number in (0, 1)])

    assert [alert.state for alert in alerts] == (["firing"] if fires else [])


def test_a_long_silence_is_told_as_it_would_have_been_minute_by_minute() -> None:
    rules = [
        {"name": "Slow", "when": "mean > 2s"},
        {"name": "Few", "when": "count < 5", "for": "2 windows"},
        {"name": "Silent", "no_data": "5m"},
    ]
    found = []
    for looks in ([1600], range(1, 1601)):
        stage = Detecting(catalogue(*rules))
        alerts = stage.feed([window(0, mean=3)])
        for minute in looks:
            alerts += stage.feed([], until=minute)
        found.append([alert.model_dump() for alert in alerts])
    assert found[0] == found[1]
    assert len(found[0]) > 5
