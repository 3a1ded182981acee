"""Replays against the reference, against themselves, and against what the processors do live."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine import merge, merged, rebuild
from nilo_stream_processors.engine.detect.detection import Detection
from tests.property.engine_cases import Case, cases
from tests.property.engine_run import Run, Step, _Both
from tests.property.reference import Key, reference_refused
from tests.property.test_reference import assert_equal, steps_of
from tests.replaying import Replay, newest, said
from tests.windows_of import microseconds

CUTS = st.lists(st.integers(1, 30), min_size=1, max_size=4)
STOPS = st.lists(st.integers(-12, 12).filter(bool), max_size=3)
FOLDERS = tempfile.TemporaryDirectory(prefix="replays-")
FEW = settings(max_examples=30, deadline=timedelta(seconds=60))
_RULES: list[dict[str, Any]] = [
    {"name": "Calls", "metric": "calls", "window": "10s", "when": "count > 1"},
    {"name": "Failing", "metric": "calls", "window": "1m", "when": "error_ratio > 30%"},
    {"name": "Long", "metric": "calls", "window": "2m", "when": "count > 3", "for": "2 windows"},
    {"name": "Hopping", "metric": "hopping", "window": "30s/10s", "when": "count > 1"},
    {"name": "Silent", "metric": "users", "window": "10s", "no_data": "30s"},
    {"name": "More", "metric": "twins", "window": "40s", "change": "count > 50%", "over": "40s"},
    {"name": "Gate", "metric": "gate", "window": "10s", "when": "count > 1"},
    {"name": "Session", "metric": "session", "window": "session 20s", "when": "count > 1"},
]


def rules_of(case: Case, *, sessions: bool) -> dict[str, Rule]:
    made = [Rule.model_validate({"severity": "info", **rule}) for rule in _RULES]
    return {
        rule.name: rule
        for rule in made
        if rule.metric in case.metrics and (sessions or rule.name != "Session")
    }


def replay_of(case: Case, *, sessions: bool = True) -> Replay:
    partitions = 1 + max(number for _, number in case.events)
    catalogue = Catalogue(metrics=case.metrics, rules=rules_of(case, sessions=sessions))
    return Replay(case.events, catalogue, case.rules, partitions)


def fresh() -> Path:
    return Path(tempfile.mkdtemp(dir=FOLDERS.name)) / "r"


@FEW
@given(cases(), CUTS, STOPS)
def test_the_windows_of_a_replay_equal_the_reference(
    case: Case, cuts: list[int], stops: list[int]
) -> None:
    folder = replay_of(case).run(fresh(), cuts, stops)

    found = {_key(key, row): row for key, row in newest(folder).items()}
    bounds = {name: value for name, value in case.rules.items() if name != "series_cap"}
    refused = reference_refused(case.events, case.metrics, **bounds)
    told, counted = folder.summary() or {}, Counter(refused.values())
    assert (told["late"], told["future"]) == (counted["late"], counted["future"])
    assert_equal(case, Run(dict(sorted(found.items())), refused))


@FEW
@given(cases(), CUTS, STOPS, CUTS)
def test_neither_cuts_nor_stops_change_a_window_or_an_alert(
    case: Case, cuts: list[int], stops: list[int], others: list[int]
) -> None:
    replay = replay_of(case)
    one, two = replay.run(fresh(), cuts, stops), replay.run(fresh(), others)

    assert content(newest(one).values()) == content(newest(two).values())
    assert said(one) == said(two)


@FEW
@given(cases(), steps_of(st.none() | st.integers(0, 9)))
def test_the_alerts_of_a_replay_are_those_of_the_processors(case: Case, steps: list[Step]) -> None:
    """Whatever was committed when live, with sessions left out: see docs/replay.md."""
    live = Live(case).alerts([step for step in steps if "crash" not in step.what])

    with patch.object(rebuild, "Detection", uncapped):
        assert said(replay_of(case, sessions=False).run(fresh())) == live


def uncapped(catalogue: Catalogue, _cap: int = 0) -> Detection:
    """Rules see all series: live each partition has a cap of its own, here there is but one."""
    return Detection(catalogue, 10_000)


class Live(_Both):
    """Both stages, and the rules behind them."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        rules = rules_of(case, sessions=False)
        self.rules = uncapped(Catalogue(metrics=case.metrics, rules=rules))
        self.said: list[Alert] = []

    def alerts(self, steps: Sequence[Step]) -> list[Alert]:
        """Of the steps, then of the rest at once, until all is idle."""
        for step in steps:
            if step.who is None:
                self.merge(step)
            else:
                self.source(self.sources[step.who % len(self.sources)], step)
        for source in self.sources:
            self.source(source, Step(0, "feed", 10**6))
            source.state.idle = True
            self.source(source, Step(0, "commit"))
        self.merge(Step(None, "feed", len(self.topic)))
        self.merge(Step(None, "commit"))
        return sorted(self.said, key=lambda alert: alert.id)

    def merge(self, step: Step) -> None:
        """A step of stage 2; with a commit the rules look."""
        if step.what == "feed":
            super().merge(step)
            return
        state, partitions = self.stage2.state, self.stage2.partitions
        for windows in merge.publish(state, lambda _topic: partitions, provisional=False):
            if not windows.late and self.rules.wants(windows.name, windows.window):
                self.rules.add(windows.name, windows.window, merged.to_arrow(windows))
        for topic in self.rules.topics:
            self.said += self.rules.advance(topic, merge.clock(state, topic, partitions))
        self.stage2.forget()


def content(rows: Any) -> list[dict[str, Any]]:
    """The windows without how often and when they were told."""
    told = {"revision", "watermark"}
    return [{name: row[name] for name in row if name not in told} for row in rows]


def _key(key: tuple[Any, ...], row: dict[str, Any]) -> Key:
    metric, window, start, labels = key
    values = tuple(value for _, value in labels)
    return metric, window, microseconds(start), microseconds(row["window_end"]), values
