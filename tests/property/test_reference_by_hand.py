"""The reference itself, against windows that were worked out by hand.

Times are in seconds on the drawings and in microseconds in the events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from nilo_schemas.catalogue import Metric
from tests.property.reference import Key, reference_refused, reference_windows

S = 1_000_000
P0, P1 = ("events.llm", 0), ("events.llm", 1)
NEVER = 10**15
PLAIN: dict[str, Any] = {
    "description": "d",
    "owner": "o",
    "event": "events.llm",
    "where": {"type": "llm.call"},
    "value": "duration",
    "unit": "seconds",
    "error_when": {"status": "ERROR"},
    "windows": ["10s"],
    "aggregates": ["count", "errors", "sum", "min", "max", "mean", "quantiles"],
}


def metric(**values: Any) -> Metric:
    made = Metric.model_validate(PLAIN | values)
    assert list(made.problems()) == []
    return made


def partition(*rows: tuple[float, dict[str, Any]]) -> list[dict[str, Any]]:
    """Events at the given seconds; offsets go up by ten, durations are one second."""
    usual = {"type": "llm.call", "status": "OK", "duration": S, "sample_rate": 1}
    return [
        usual | {"offset": 10 * number, "time": int(at * S), "timestamp": int(at * 1000)} | more
        for number, (at, more) in enumerate(rows)
    ]


def windows(
    events: Mapping[tuple[str, int], Sequence[Any]], metric: Metric, **rules: int
) -> dict[Key, dict[str, Any]]:
    usual = {"bound": 0, "grace": NEVER, "series_cap": 10_000, "future_bound": 3600 * S}
    return reference_windows(events, {"m": metric}, **(usual | rules))


def counts(found: dict[Key, dict[str, Any]]) -> dict[Any, int]:
    """Counts by start in seconds, and by end and dimensions where there is something to tell."""
    return {
        (start // S, end // S, *series): window["count"]
        for (_, _, start, end, series), window in found.items()
    }


def test_every_field_of_a_window_over_two_partitions() -> None:
    #   0   1   2   3   4   5   6   7   8   9 | 10
    #   a       b(x3, error)  c           (d) | e        d has another type
    events = {
        P0: partition(
            (0, {"duration": 4 * S}), (2, {"sample_rate": 3, "status": "ERROR", "duration": 0})
        ),
        P1: partition((5, {"duration": 2 * S}), (9, {"type": "llm.stream"}), (10, {})),
    }
    found = windows(events, metric(quantiles=[0.5, 0.6, 0.61, 0.8, 0.81, 1.0]))

    assert counts(found) == {(0, 10): 5, (10, 20): 1}
    assert found["m", "10s", 0, 10 * S, ()] == {
        "count": 5,
        "errors": 3,
        "sum": 6 * S,
        "min": 0,
        "max": 4 * S,
        "mean": 1.2,
        "rate": 0.5,
        "error_ratio": 0.6,
        # of 0 0 0 2 4
        "quantiles": {
            "p50": 0, "p60": 0, "p61": 2 * S, "p80": 2 * S, "p81": 4 * S, "p100": 4 * S,
        },
        "distinct": 0,
        "sources": {P0: (0, 10), P1: (0, 0)},
    }  # fmt: skip


def test_events_without_the_value_are_not_the_metric_s() -> None:
    events = {P0: partition((1, {"duration": None}), (2, {}))}

    assert windows(events, metric())["m", "10s", 0, 10 * S, ()]["sources"] == {P0: (10, 10)}
    counted = metric(value=None, aggregates=["count"])
    assert counts(windows(events, counted)) == {(0, 10): 2}


def test_hopping_windows_overlap() -> None:
    # [0     10) [10    20) [20    30)
    #      5           15
    # [-20   10) [-10   20) [0     30) [10   40)
    events = {P0: partition((5, {}), (15, {}))}

    found = windows(events, metric(windows=["30s/10s"]))

    assert counts(found) == {(-20, 10): 1, (-10, 20): 2, (0, 30): 2, (10, 40): 1}


def test_rollups_come_with_the_minute() -> None:
    events = {P0: partition((30, {}), (90, {}), (150, {}))}

    found = windows(events, metric(windows=["1m"], rollups=["2m", "1h"]))

    assert counts(found) == {
        (0, 60): 1, (60, 120): 1, (120, 180): 1, (0, 120): 2, (120, 240): 1, (0, 3600): 3,
    }  # fmt: skip


def test_a_row_is_late_for_its_pane_and_for_the_windows_made_of_it() -> None:
    # bound 2, grace 3; watermark before c: 25 - 2 = 23, so panes that ended at 20 are closed
    #   a 5 ... b 25, c 19 (its pane ended at 20, 20 + 3 <= 23: late), d 21
    events = {P0: partition((5, {}), (25, {}), (19, {}), (21, {}))}
    rules = {"bound": 2 * S, "grace": 3 * S}

    assert counts(windows(events, metric(windows=["10s", "1m"], rollups=[]), **rules)) == {
        (0, 10): 1, (20, 30): 2, (0, 60): 3,
    }  # fmt: skip
    # With minutes only the pane is the minute, and nothing is late.
    assert counts(windows(events, metric(windows=["1m"], rollups=[]), **rules)) == {(0, 60): 4}
    assert counts(windows(events, metric(), **(rules | {"grace": 3 * S + 1}))) == {
        (0, 10): 1, (10, 20): 1, (20, 30): 2,
    }  # fmt: skip
    refused = reference_refused(
        events, {"m": metric()}, bound=2 * S, grace=3 * S, future_bound=NEVER
    )
    assert refused == {(P0, 20): "late"}


def test_other_partitions_call_no_row_late() -> None:
    events = {P0: partition((1000, {})), P1: partition((5, {}), (15, {}))}

    assert counts(windows(events, metric(), grace=0)) == {(0, 10): 1, (10, 20): 1, (1000, 1010): 1}


def test_a_row_from_the_future_is_refused_and_moves_no_watermark() -> None:
    # b says 900 and was written at 100: more than 700 ahead; c says 800: just not more
    events = {
        P0: partition(
            (5, {}), (900, {"timestamp": 100_000}), (7, {}), (800, {"timestamp": 100_000}), (8, {})
        )
    }
    rules = {"bound": 0, "grace": 0, "future_bound": 700 * S}

    assert counts(windows(events, metric(), **rules)) == {(0, 10): 2, (800, 810): 1}
    assert reference_refused(events, {"m": metric()}, **rules) == {
        (P0, 10): "future", (P0, 40): "late",
    }  # fmt: skip


def test_series_beyond_the_cap_count_together() -> None:
    # The cap holds for each pane of each partition. c has no value, yet it takes its place.
    rows = partition(
        (1, {"model": "a"}), (2, {"model": "c", "duration": None}), (3, {"model": "d"}),
        (4, {"model": None}), (5, {"model": "a"}), (11, {"model": "d"}),
    )  # fmt: skip
    events = {P0: rows, P1: partition((6, {"model": "d"}))}
    by_model = metric(dimensions=["model"])

    assert counts(windows(events, by_model, series_cap=2)) == {
        (0, 10, "a"): 2, (0, 10, "__other__"): 2, (0, 10, "d"): 1, (10, 20, "d"): 1,
    }  # fmt: skip
    own = metric(dimensions=["model"], max_series=4)
    assert counts(windows(events, own, series_cap=2)) == {
        (0, 10, "a"): 2, (0, 10, "d"): 2, (0, 10, ""): 1, (10, 20, "d"): 1,
    }  # fmt: skip
    assert counts(windows(events, metric(), series_cap=1)) == {(0, 10): 5, (10, 20): 1}


def test_late_rows_take_no_place_under_the_cap() -> None:
    rows = partition((25, {"model": "a"}), (3, {"model": "b"}), (26, {"model": "c"}))

    found = windows({P0: rows}, metric(dimensions=["model"]), grace=0, series_cap=2)

    assert counts(found) == {(20, 30, "a"): 1, (20, 30, "c"): 1}


def test_sessions_reach_over_partitions_and_end_behind_the_gap() -> None:
    # gap 5:   a0   b5    |  c11 d13        a to b is 5, not more; b to c is 6
    events = {P0: partition((0, {}), (13, {})), P1: partition((11, {}), (5, {"sample_rate": 2}))}

    found = windows(events, metric(windows=["session 5s"]))

    assert counts(found) == {(0, 10): 3, (11, 18): 2}
    first = found["m", "session 5s", 0, 10 * S, ()]
    assert first["rate"] == 0.3
    assert first["sources"] == {P0: (0, 0), P1: (10, 10)}


def test_sessions_of_series_are_apart_and_know_late_rows() -> None:
    rows = partition(
        (3, {"model": "a"}), (4, {"model": "b"}), (20, {"model": "a"}), (13, {"model": "b"}),
        (14, {"model": "b"}),
    )  # fmt: skip
    by_model = metric(windows=["session 5s"], dimensions=["model"])

    # The watermark is 20; 13 + 5 + 2 is not beyond it, 14 + 5 + 2 is.
    assert counts(windows({P0: rows}, by_model, grace=2 * S)) == {
        (3, 8, "a"): 1, (20, 25, "a"): 1, (4, 9, "b"): 1, (14, 19, "b"): 1,
    }  # fmt: skip


def test_distinct_values_leave_out_nulls_and_weights() -> None:
    rows = partition(
        (1, {"session_id": "x", "sample_rate": 9}), (2, {"session_id": None}),
        (3, {"session_id": "y"}), (4, {"session_id": "x"}),
    )  # fmt: skip
    users = metric(aggregates=["count", "distinct"], distinct="session_id", value=None)

    window = windows({P0: rows}, users)["m", "10s", 0, 10 * S, ()]

    assert (window["count"], window["distinct"], window["sum"]) == (12, 2, None)


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ("a", [0]),
        (["a", "b"], [0, 1]),
        ({"not": "a"}, [1]),
        ({"not": ["a", "b"]}, []),
        ({"present": True}, [0, 1]),
        ({"present": False}, [2]),
        ({"differs_from": "fallback_from"}, [1]),
    ],
)
def test_conditions(condition: Any, taken: list[int]) -> None:
    rows = partition(
        (0, {"model": "a", "fallback_from": "a"}),
        (1, {"model": "b", "fallback_from": "a"}),
        (2, {}),
    )
    found = windows({P0: rows}, metric(windows=["1s"], where={"model": condition}))

    assert counts(found) == {(at, at + 1): 1 for at in taken}


def test_bounds_hold_inclusive_and_need_a_value() -> None:
    rows = partition(*((at, {"input_tokens": n}) for at, n in enumerate([None, 1, 2, 3, 4])))

    found = windows(
        {P0: rows}, metric(windows=["1s"], where={"input_tokens": {"gte": 2, "lte": 3}})
    )

    assert counts(found) == {(2, 3): 1, (3, 4): 1}


def test_attributes_booleans_floats_and_differences_of_times() -> None:
    usual = {"type": "trade.gate", "status": None}
    rows = partition(
        (1, usual | {"gate_passed": True, "attributes": {"k": "v"}, "gate_value": 2.5}),
        (2, usual | {"gate_passed": None, "gate_value": 0.0000025, "decision_time": 5 * S}),
    )
    trade = {"event": "events.trade", "where": {}, "error_when": {}, "aggregates": ["sum"]}
    source = ("events.trade", 0)

    labelled = metric(
        **trade, value="gate_value", unit="", dimensions=["gate_passed", "attributes.k"]
    )
    waited = metric(**trade, value="decision_time - time")

    found = windows({source: rows, P0: partition((1, {}))}, labelled)
    assert {key[4]: window["sum"] for key, window in found.items()} == {
        ("true", "v"): 2_500_000, ("", ""): 2,  # half to even
    }  # fmt: skip
    assert [window["sum"] for window in windows({source: rows}, waited).values()] == [3 * S]
