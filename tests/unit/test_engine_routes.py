"""Where series go: each for itself, and together where a rule looks at them together."""

from __future__ import annotations

from typing import Any

import numpy as np

from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.routes import Routes
from nilo_stream_processors.engine.series import SEPARATOR
from tests.rows import call, measured
from tests.stages import Stage1
from tests.windows_of import catalogue

METRICS: dict[str, Any] = {
    "calls": {},
    "failures": {"dimensions": ["source", "model"]},
    "other": {"dimensions": ["source", "model"]},
}


def partials(metric: str, *series: str) -> Partials:
    """Rows of a metric; only its name and the series decide."""
    stage = Stage1({"m": measured(windows=["10s"], rollups=[])})
    stage.feed(call(1))
    row = stage.commit()[0]
    found = row.take(np.zeros(len(series), np.int64))
    texts = np.array([*series, None], np.object_)[:-1]
    names = np.array([metric] * len(series), np.object_)
    values = {**found.__dict__, "metric": names, "series": texts}
    return Partials(**values)


def targets(routes: Routes, metric: str, *series: str) -> list[int]:
    return [int(each) for each in routes.targets(partials(metric, *series), 1000)]


def series(*labels: str) -> str:
    return SEPARATOR.join(labels)


def test_without_such_rules_every_series_has_its_own_place() -> None:
    routes = Routes(catalogue({"when": "mean > 1s"}, metrics=METRICS))
    found = targets(routes, "failures", series("x", "a"), series("y", "a"), series("x", "b"))
    assert len(set(found)) == 3


def test_what_a_ratio_compares_is_in_one_place() -> None:
    rule = {"ratio": "count / calls.count > 10%", "metric": "failures"}
    routes = Routes(catalogue(rule, metrics=METRICS))
    (calls,) = targets(routes, "calls", "a")
    assert targets(routes, "failures", series("x", "a"), series("y", "a")) == [calls, calls]
    assert targets(routes, "calls", "b") != [calls]


def test_what_a_budget_adds_up_and_a_drift_compares_is_in_one_place() -> None:
    budget = {"budget": "count > 1 per day", "by": ["model"], "metric": "other"}
    drift = {"name": "Drift", "drift": "source", "metric": "failures"}
    routes = Routes(catalogue(budget, drift, metrics=METRICS))
    for metric in ("other", "failures"):
        found = targets(routes, metric, series("x", "a"), series("y", "a"), series("x", "b"))
        assert found[0] == found[1] != found[2]


def test_the_digest_changes_only_with_the_routes() -> None:
    plain = Routes(catalogue({"when": "mean > 1s"}, metrics=METRICS))
    other = Routes(catalogue({"when": "mean > 2s"}, metrics=METRICS))
    budget = Routes(catalogue({"budget": "count > 1 per day", "by": []}, metrics=METRICS))
    assert plain.digest == other.digest != budget.digest
