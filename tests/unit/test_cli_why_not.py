"""Why a rule is silent: each answer that `nilo alerts why-not` gives, on windows made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from nilo_cli.errors import UsageError
from nilo_cli.rerun.trial import Trial
from nilo_cli.why_not.asked import key_of, pairs_of, rule_of
from nilo_cli.why_not.reasons import Reason, Said, reasons
from nilo_schemas.alerts import Alert, Matcher, Silence, fingerprint_of
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.results import MetricWindow
from nilo_stream_processors.engine.anomaly import WARM_UP
from tests.alerts import an_alert
from tests.window_tables import window_table
from tests.windows_of import MINUTE, START, catalogue, microseconds, window

ATLAS = {"model": "atlas"}


def at(minutes: float) -> datetime:
    return START + minutes * MINUTE


def why_not(
    known: Catalogue,
    windows: Sequence[MetricWindow],
    minute: float,
    *,
    pairs: dict[str, str] | None = None,
    published: Iterable[Alert] = (),
    active: Iterable[Alert] = (),
    silences: Iterable[Silence] = (),
) -> list[Reason]:
    (rule,) = (rule for rule in known.rules.values())
    trial = Trial(known, rule, ATLAS if pairs is None else pairs)
    trial.take(window_table(windows))
    key = key_of(trial, ATLAS if pairs is None else pairs)
    standing = trial.standing(key, microseconds(at(minute)))
    said = Said(
        at(minute), list(published), list(active), {silence.id: silence for silence in silences}
    )
    return reasons(standing, said)


def means(*values: float | None) -> list[MetricWindow]:
    return [window(n, mean=value) for n, value in enumerate(values) if value is not None]


SLOW = {"when": "mean > 2s", "clear": "mean < 1s", "for": "3 windows"}


def firing(**more: Any) -> Alert:
    fields = {"rule": "Rule", "labels": ATLAS, "time": at(3), "starts_at": START} | more
    return an_alert(**fields, fingerprint=fingerprint_of("Rule", ATLAS))


def test_pending_says_how_many_windows_of_how_many() -> None:
    found = why_not(catalogue(SLOW), means(0.5, 3, 3), 3)
    assert [reason.kind for reason in found] == ["pending", "met"]
    assert found[0].text == "pending, 2 of 3 windows"
    assert "mean 3 s (bound: > 2 s)" in found[1].text


def test_a_condition_that_does_not_hold_is_told_with_value_and_bound() -> None:
    found = why_not(catalogue(SLOW), means(3, 3, 0.5), 3)
    assert found[0] == Reason("not_met", "the condition does not hold: mean 0.5 s (bound: > 2 s)")
    assert found[1].kind == "missed"
    assert "the window after 2 of 3 did not meet it" in found[1].text


def test_only_what_was_known_at_the_time_counts() -> None:
    windows = means(0.5, 3, 3, 3)
    assert why_not(catalogue(SLOW), windows, 2)[0].text == "pending, 1 of 3 windows"
    assert why_not(catalogue(SLOW), windows, 4)[0].kind == "firing"


def test_between_the_condition_and_its_clear() -> None:
    found = why_not(catalogue(SLOW), means(0.5, 1.5), 2)
    assert (found[0].kind, "mean < 1s" in found[0].text) == ("between", True)


def test_silenced_says_by_which_silence_of_whom_until_when() -> None:
    silence = Silence(
        id="s-1",
        matchers=[Matcher(name="model", value="atlas")],
        starts_at=START,
        ends_at=START + timedelta(hours=1),
        created_by="ada",
        comment="a deploy",
    )
    given: dict[str, Any] = {"published": [firing()], "silences": [silence]}
    found = why_not(catalogue(SLOW), means(3, 3, 3), 3, **given)
    assert [reason.kind for reason in found] == ["silenced", "firing"]
    assert found[0].text == "silenced by s-1 of ada until 2026-11-02 01:00:00 (a deploy)"
    assert [
        each.kind for each in why_not(catalogue(SLOW), means(3, 3, 3, *[3] * 60), 62, **given)
    ] == ["firing"]


def test_acknowledged_says_by_whom() -> None:
    taken = Silence(
        fingerprint=fingerprint_of("Rule", ATLAS), episode=START, starts_at=START, created_by="bob"
    )
    found = why_not(catalogue(SLOW), means(3, 3, 3), 3, published=[firing()], silences=[taken])
    assert found[0] == Reason("acknowledged", "acknowledged by bob")


def test_inhibited_says_by_which_alert() -> None:
    cause = an_alert(rule="Down", labels=ATLAS, hides=["Rule"], equal=["model"])
    found = why_not(
        catalogue(SLOW), means(3, 3, 3), 3, published=[firing()], active=[cause, firing()]
    )
    assert found[0] == Reason("inhibited", f"inhibited by Down (model=atlas): alert {cause.id}")


def test_no_data_says_since_when() -> None:
    found = why_not(catalogue({"when": "mean > 2s"}), means(0.5, 0.5), 9.5)
    assert [reason.kind for reason in found] == ["no_data", "not_met"]
    assert found[0].text.startswith("no data since 2026-11-02 00:02:00, for ")
    others = [window(n, {"model": "pico"}, mean=0.1) for n in range(2, 9)]
    found = why_not(catalogue(SLOW), [*means(3, 3), *others], 9)
    assert found[0] == Reason("no_data", "no data since 2026-11-02 00:02:00, for 7 min")


def test_where_too_few_events_are_the_condition_silence_is_no_lack_of_data() -> None:
    known = catalogue({"when": "count < 5", "for": "30 windows"})
    assert [each.kind for each in why_not(known, means(0.5, 0.5), 9)] == ["pending", "met"]
    others = [window(n, {"model": "pico"}, mean=0.1) for n in range(2, 9)]
    fine = why_not(catalogue({"when": "count > 50"}), [*means(0.5), *others], 9)
    assert [each.kind for each in fine] == ["no_data", "not_met"]


def test_an_anomaly_that_warms_up_says_how_much_it_has_seen() -> None:
    found = why_not(catalogue({"anomaly": "mean"}), means(*[1.0] * 34), 34)
    assert found[0] == Reason("warm_up", f"not seen enough: 34 of {WARM_UP} points to learn from")


def test_a_drift_that_has_seen_little_says_how_much() -> None:
    known = catalogue({"drift": "kind"}, metrics={"calls": {"dimensions": ["model", "kind"]}})
    windows = [window(n, {"model": "atlas", "kind": "a"}, count=30) for n in range(20)]
    found = why_not(known, windows, 20)
    assert found[0] == Reason("warm_up", "not seen enough: 20 of 60 windows to learn the mix from")


def test_a_change_without_a_window_of_then_is_not_judged() -> None:
    rule = {"change": "mean > 50%", "over": "5m"}
    found = why_not(catalogue(rule), means(1, 1, 9), 3)
    assert found[0].kind == "no_past"


def test_too_few_events_say_how_many_are_needed() -> None:
    rule = {"when": "mean > 2s", "min_count": 20}
    found = why_not(catalogue(rule), means(3, 3), 2)
    assert found[0] == Reason(
        "too_few", "not seen enough: the window has 10 of the 20 events of min_count"
    )


def test_late_shows_the_value_that_was_looked_at_and_that_of_now() -> None:
    windows = [*means(0.5, 0.5, 0.5), window(1, mean=7, revision=1)]
    found = why_not(catalogue({"when": "mean > 2s"}), windows, 3)
    assert [reason.kind for reason in found] == ["not_met", "late"]
    assert "mean 7 s" in found[1].text
    assert "mean 0.5 s" in found[1].text
    assert "00:02:00" in found[1].text


def test_a_window_whose_first_event_came_late_was_not_looked_at() -> None:
    windows = [*means(0.5, None, 0.5), window(1, mean=7)]
    found = why_not(catalogue({"when": "mean > 2s"}), windows, 3)
    assert [reason.kind for reason in found] == ["not_met", "late"]
    assert "no window" in found[1].text


def test_a_rule_that_fires_says_so_and_whether_the_processors_did() -> None:
    fires = {"when": "mean > 2s"}
    assert [each.kind for each in why_not(catalogue(fires), means(3), 1)] == [
        "firing",
        "unpublished",
    ]
    known = catalogue(fires)
    alert = firing(time=at(1), rule_hash=known.rules["Rule"].hash)
    assert [each.kind for each in why_not(known, means(3), 1, published=[alert])] == ["firing"]


def test_what_was_published_by_another_version_of_the_rule_is_told() -> None:
    found = why_not(catalogue(SLOW), means(0.5), 1, published=[firing(time=START)])
    assert [each.kind for each in found] == ["not_met", "published"]


def test_a_series_beyond_max_series_is_said_to_be_capped() -> None:
    windows = [window(0, {"model": "__other__"}, mean=0.5)]
    known = catalogue(SLOW)
    with pytest.raises(UsageError, match="capped"):
        why_not(known, windows, 1)
    found = why_not(known, windows, 1, pairs={"model": "__other__"})
    assert [each.kind for each in found] == ["not_met", "capped"]


def test_a_series_that_is_not_there_brings_near_ones() -> None:
    windows = [window(0, {"model": name}, mean=0.5) for name in ("atlas-1", "pico")]
    with pytest.raises(
        UsageError, match=r"no series of calls has model=atlas; near ones: .*atlas-1"
    ):
        why_not(catalogue(SLOW), windows, 1)


def test_labels_that_do_not_tell_the_series_apart_bring_those_that_match() -> None:
    windows = [window(0, {"model": name}, mean=0.5) for name in ("atlas", "pico")]
    with pytest.raises(UsageError, match=r"2 series .*model=atlas; model=pico"):
        why_not(catalogue(SLOW), windows, 1, pairs={})
    assert why_not(catalogue(SLOW), windows[:1], 1, pairs={})[0].kind == "not_met"


def test_a_ratio_is_asked_by_the_labels_that_both_metrics_have() -> None:
    known = catalogue(
        {"ratio": "count / all.count > 10%", "min_count": 5},
        metrics={"calls": {}, "all": {"dimensions": ["model", "kind"]}},
    )
    windows = [
        window(0, metric="calls", count=3),
        window(0, {"model": "atlas", "kind": "a"}, metric="all", count=30),
        window(0, {"model": "atlas", "kind": "b"}, metric="all", count=30),
    ]
    found = why_not(known, windows, 1)
    assert found[0].kind == "not_met"
    assert "3 calls.count / 60 all.count = 5 %" in found[0].text


def test_rules_that_are_unknown_or_disabled_are_told_apart(tmp_path: Any) -> None:
    known = catalogue(SLOW)
    with pytest.raises(UsageError, match="did you mean Rule"):
        rule_of(known, "Rul", None)
    (tmp_path / "own.yaml").write_text(
        "alerts:\n  - {name: LlmSlow, metric: llm.duration, when: p95 > 2s, enabled: false,"
        " severity: info}\n"
    )
    with pytest.raises(UsageError, match="LlmSlow is disabled"):
        rule_of(known, "LlmSlow", tmp_path)


def test_keys_come_in_one_text_or_in_several() -> None:
    rule = catalogue(SLOW).rules["Rule"]
    labels = ["model", "kind"]
    wanted = {"model": "a,b", "kind": "c=d"}
    assert pairs_of(rule, labels, ["model=a,b,kind=c=d"]) == wanted
    assert pairs_of(rule, labels, ["model=a,b", "kind=c=d"]) == wanted
    with pytest.raises(UsageError, match="the labels model, kind"):
        pairs_of(rule, labels, ["size=1"])
