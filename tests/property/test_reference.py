"""The engine against the reference, and against itself: other cuts, restarts, doubled snapshots."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nilo_schemas.catalogue import Metric
from tests.property.engine_cases import METRICS, NEVER, Case, cases, events_of
from tests.property.engine_run import Run, Step, run
from tests.property.reference import reference_refused, reference_windows
from tests.rows import LLM, SECOND

MANY = settings(max_examples=50)
EXACT = 2**53


def expected(metric: Metric, window: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a published window that are told exactly, but for quantiles and distinct."""
    scale, asked = metric.value_scale(), metric.aggregates
    scaled = {
        name: window[name] / scale if name in asked and window[name] is not None else None
        for name in ("sum", "min", "max")
    }
    return scaled | {
        "unit": metric.unit,
        "final": True,
        "count": window["count"],
        "errors": window["errors"],
        "mean": window["mean"] if "mean" in asked else None,
        "rate": window["rate"],
        "error_ratio": window["error_ratio"],
        "sources": [
            {"topic": topic, "partition": number, "first_offset": first, "last_offset": last}
            for (topic, number), (first, last) in window["sources"].items()
        ],
    }


def assert_equal(case: Case, ran: Run) -> None:
    """The published windows are those of the reference, field by field; so are dead letters."""
    bounds = {name: value for name, value in case.rules.items() if name != "series_cap"}
    assert ran.refused == reference_refused(case.events, case.metrics, **bounds)
    wanted, found = reference_windows(case.events, case.metrics, **case.rules), ran.windows
    assert sorted(found) == sorted(wanted)
    for key, window in wanted.items():
        metric, mine = case.metrics[key[0]], found[key]
        fields = expected(metric, window)
        assert {name: mine[name] for name in fields} == rounded(fields, mine, window)
        assert_estimates(metric, mine, window)


def rounded(
    fields: dict[str, Any], mine: Mapping[str, Any], window: Mapping[str, Any]
) -> dict[str, Any]:
    """Sums beyond 2**53 steps are no exact floats: there the last bits are the engine's."""
    if abs(window["sum"] or 0) <= EXACT:
        return fields
    near = {
        name: mine[name]
        for name in ("sum", "mean", "min", "max")
        if fields[name] is not None and math.isclose(fields[name], mine[name], rel_tol=1e-15)
    }
    return fields | near


def assert_estimates(metric: Metric, mine: Mapping[str, Any], window: Mapping[str, Any]) -> None:
    base, scale = 2 ** (2**-metric.histogram_scale), metric.value_scale()
    exact = window["quantiles"] if "quantiles" in metric.aggregates else {}
    assert mine["quantiles"].keys() == exact.keys()
    for name, value in exact.items():
        # Values below zero have no buckets: of them only the least is known.
        wanted = (min(value, 0) and window["min"]) or value
        tolerance = (base - 1) / (base + 1) + 1e-9
        assert math.isclose(mine["quantiles"][name], wanted / scale, rel_tol=tolerance), name
    if "distinct" not in metric.aggregates:
        assert mine["distinct"] is None
    else:
        assert math.isclose(mine["distinct"], window["distinct"], abs_tol=0.01)


_what = st.sampled_from(
    ["feed"] * 4 + ["commit"] * 4 + ["snapshot", "crash", "commit, crash", "snapshot, crash"]
)


def steps_of(who: st.SearchStrategy[int | None]) -> st.SearchStrategy[list[Step]]:
    """Few or many steps of source partitions and stage 2."""
    step = st.builds(Step, who, _what, st.integers(1, 12))
    return st.sampled_from([2, 20, 80]).flatmap(lambda least: st.lists(step, min_size=least))


@MANY
@given(cases())
def test_windows_equal_the_reference(case: Case) -> None:
    assert_equal(case, run(case))


@MANY
@given(cases(), steps_of(st.none() | st.integers(0, 9)))
def test_crashes_of_both_stages_change_no_window(case: Case, steps: list[Step]) -> None:
    assert_equal(case, run(case, steps))


@MANY
@given(cases(), steps_of(st.integers(0, 9)))
def test_cuts_and_crashes_of_stage_1_change_no_byte(case: Case, steps: list[Step]) -> None:
    assert repr(run(case).windows) == repr(run(case, steps).windows)


def llm_case(name: str, rows: list[dict[str, Any]], cap: int) -> Case:
    """One partition with calls, each at its second `at`."""
    usual = {"ahead": 0, "gap": 1, "sample_rate": 1, "type": "llm.call"}
    events = events_of([usual | row | {"at": row["at"] * SECOND} for row in rows])
    rules = {"bound": 0, "grace": NEVER, "series_cap": cap, "future_bound": 3600 * SECOND}
    return Case({(LLM, 0): events}, {name: METRICS[name]}, rules)


@pytest.mark.parametrize("last", ["commit", "commit, crash", "snapshot", "snapshot, crash"])
def test_a_session_that_grew_at_its_beginning_is_counted_once(last: str) -> None:
    case = llm_case("session", [{"at": at, "session_id": "a", "duration": 5} for at in (20, 5)], 9)
    one, whole = Step(0, "feed", 1), [Step(None, "feed", 9), Step(None, "commit")]

    assert_equal(case, run(case, [one, Step(0, "commit"), *whole, one, Step(0, last)]))


def test_a_series_without_values_keeps_its_place_under_the_cap_over_a_crash() -> None:
    tokens = [("a", None), ("b", 1)]
    rows = [{"at": 1, "model": model, "input_tokens": many} for model, many in tokens]
    case = llm_case("hopping", rows, 1)

    assert_equal(case, run(case, [Step(0, "feed", 1), Step(0, "commit, crash")]))
