"""Detection against a reference written the dumb way; and against itself, cut and killed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.results import MetricWindow
from tests.detecting import Detecting, told
from tests.windows_of import catalogue, window

MODELS = ("a", "b", "c")
MINUTES = 40
# Of each model and minute: the mean, or None for no window.
MEANS = st.lists(
    st.tuples(*[st.sampled_from([None, 0.1, 0.1, 1.5, 3.0, 3.0]) for _ in MODELS]),
    min_size=1,
    max_size=MINUTES,
)
ALL_KINDS: list[dict[str, Any]] = [
    {"name": "Slow", "when": "mean > 2s", "clear": "mean < 1s", "for": "2 windows"},
    {"name": "Kept", "when": "p95 > 2s", "keep_firing_for": "3 windows"},
    {"name": "Few", "when": "count < 5"},
    {"name": "Change", "change": "mean > 50%", "over": "4m"},
    {"name": "Ratio", "ratio": "errors / calls.count > 10%", "by": []},
    {"name": "Budget", "budget": "sum > 60 per hour", "by": []},
    {"name": "Silent", "no_data": "3m"},
    {"name": "Burn", "burn_rate": "14.4 over 1h", "objective": "99%"},
    {"name": "Odd", "anomaly": "mean"},
    {"name": "Drift", "drift": "model", "against": {"a": 0.4, "b": 0.3, "c": 0.3}},
]


def windows_of(means: list[tuple[float | None, ...]]) -> list[MetricWindow]:
    return [
        window(
            number,
            {"model": model},
            mean=mean,
            sum=10 * mean,
            quantiles={"p95": mean},
            errors=5 if mean == 1.5 else 0,
        )
        for number, row in enumerate(means)
        for model, mean in zip(MODELS, row, strict=True)
        if mean is not None
    ]


def reference(means: list[float | None]) -> list[tuple[float, str]]:
    """`mean > 2s` for two windows until `mean < 1s`, told of one series in its own words."""
    state, missing, quiet, flapping = "inactive", 0, 0, False
    said: list[tuple[float, str]] = []
    fired: list[int] = []
    for minute, mean in enumerate(means, 1):
        before = state
        slow = mean is not None and mean > 2
        if state in ("inactive", "resolved") and slow:
            state = "pending"
        elif state == "pending":
            if slow:
                state, missing, quiet = "firing", 0, 0
                fired = [time for time in fired if minute - time < 30] + [minute]
                flapping = len(fired) >= 3
            else:
                state = "inactive"
        elif state in ("inactive", "resolved"):
            pass
        elif mean is None:
            missing, quiet = missing + 1, 0
            state = "no_data" if missing >= 3 else state
        else:
            missing = 0
            quiet = quiet + 1 if mean < 1 else 0
            over = quiet >= (10 if flapping and state == "firing" else 1)
            state = "resolved" if over else "firing"
        if state != before:
            said.append((float(minute), state))
    return said


@given(MEANS)
@settings(max_examples=80)
def test_a_threshold_is_as_the_reference_says(means: list[tuple[float | None, ...]]) -> None:
    stage = Detecting(catalogue(ALL_KINDS[0]))
    alerts = stage.feed(windows_of(means), until=len(means)) if windows_of(means) else []

    for place, model in enumerate(MODELS):
        mine = [alert for alert in alerts if alert.labels["model"] == model]
        assert [(time, state) for time, _, state in told(mine)] == reference(
            [row[place] for row in means]
        )


def rules() -> Catalogue:
    return catalogue(*ALL_KINDS)


def run(
    means: list[tuple[float | None, ...]], edges: list[int], kills: set[int], whole: set[int]
) -> list[Alert]:
    """Windows in pieces; after each piece a commit, all of it or what changed, and maybe a kill.

    What is looked at after the last commit is lost with a kill, and comes again.
    """
    stage, found = Detecting(rules()), []
    for number, (first, last) in enumerate(pairwise([0, *edges, len(means)])):
        new = [each for each in windows_of(means) if first <= minute_of(each) < last]
        if number in kills:
            stage.feed(new, until=last)
            stage.crash()
        found += stage.feed(new, until=last)
        stage.commit(snapshot=number in whole)
    return found


def minute_of(each: MetricWindow) -> int:
    return each.window_start.hour * 60 + each.window_start.minute


def plain(alerts: list[Alert]) -> list[dict[str, Any]]:
    return [alert.model_dump() for alert in alerts]


@given(
    MEANS,
    st.sets(st.integers(1, MINUTES - 1), max_size=8),
    st.sets(st.integers(0, 9)),
    st.sets(st.integers(0, 9)),
)
@settings(max_examples=40)
def test_cuts_commits_and_kills_change_no_alert(
    means: list[tuple[float | None, ...]], cuts: set[int], kills: set[int], whole: set[int]
) -> None:
    edges = sorted(cut for cut in cuts if cut < len(means))

    assert plain(run(means, edges, kills, whole)) == plain(run(means, [], set(), set()))
