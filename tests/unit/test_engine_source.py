"""Stage 1: watermarks, lateness, the future, expiry, conditions, and the cap on series."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nilo_stream_processors.engine.columns import LONGEST_LABEL, Columns
from nilo_stream_processors.engine.merge import Mark
from tests.rows import LLM, SECOND, START, Row, batch_of, call, measured
from tests.stages import Cell, Stage1

METRICS = {"m": measured()}
BY_MINUTES = {"m": measured(windows=["10s", "1m"], rollups=[])}
SESSIONS = {"m": measured(windows=["session 10s"], dimensions=["session_id"])}


def one_by_one(stage: Stage1, rows: list[Row]) -> list[str]:
    return [said for row in rows for said in stage.feed(row)]


def test_labels_that_are_too_long_count_as_other() -> None:
    stage = Stage1(METRICS)

    stage.feed(call(1, "a" * LONGEST_LABEL), call(2, "b" * (LONGEST_LABEL + 1)), call(3, None))

    assert [cell.labels for cell in stage.cells()] == [
        ("",),
        ("__other__",),
        ("a" * LONGEST_LABEL,),
    ]


def test_the_watermark_is_the_largest_time_less_the_bound_and_never_goes_back() -> None:
    stage = Stage1(METRICS, disorder=2)

    stage.feed(call(30), call(10))
    stage.feed(call(12))

    assert stage.state.watermark == START + 28 * SECOND


def test_lateness_is_judged_row_by_row_whatever_the_batch_edges() -> None:
    """[0, 10) closes at 12; the third event is late, the first of the same window is not."""
    rows = [call(5), call(75), call(6), call(11.9), call(72)]

    whole = Stage1(METRICS, disorder=2, grace=0).feed(*rows)
    single = one_by_one(Stage1(METRICS, disorder=2, grace=0), rows)

    assert whole == single == ["taken", "taken", "late", "late", "taken"]


def test_a_window_takes_events_until_the_watermark_has_reached_its_end() -> None:
    """The watermark stands at 9.999999, then at 10."""
    rows = [call(11.999999), call(9), call(12), call(9.9)]

    assert Stage1(METRICS, disorder=2, grace=0).feed(*rows) == ["taken", "taken", "taken", "late"]


def test_an_event_within_the_grace_is_taken() -> None:
    stage = Stage1(METRICS, grace=65.000001)

    assert stage.feed(call(5), call(75), call(6)) == ["taken"] * 3
    assert stage.cells() == [Cell("m", ("a",), 0, 2), Cell("m", ("a",), 70, 1)]


def test_the_grace_ends_with_the_microsecond() -> None:
    assert Stage1(METRICS, grace=65).feed(call(5), call(75), call(6))[-1] == "late"


def test_a_session_takes_events_that_could_still_extend_one() -> None:
    """Gap 10: an event at 5 could belong to a session that ends before 15, and grace is 3."""
    rows = [call(0), call(17.9), call(5), call(18), call(5)]

    said = Stage1(SESSIONS, grace=3).feed(*rows)

    assert said == ["taken", "taken", "taken", "taken", "late"]


def test_cells_that_nothing_can_reach_any_more_go() -> None:
    stage = Stage1(METRICS, grace=5)
    stage.feed(call(5), call(62), call(76))

    stage.commit()

    assert [cell.start for cell in stage.cells()] == [70]


def test_events_from_the_future_are_refused_and_move_no_watermark() -> None:
    """A clock may be an hour ahead of the broker's, not more."""
    near = call(3600, timestamp=START // 1000)
    far = call(3600.000001, timestamp=START // 1000)
    stage = Stage1(METRICS, grace=0)

    assert stage.feed(call(5), far, call(6)) == ["taken", "future", "taken"]
    assert (stage.state.watermark, stage.state.last_offset) == (START + 6 * SECOND, 2)
    assert one_by_one(stage, [far, call(7), near, call(8)]) == ["future", "taken", "taken", "late"]
    assert stage.state.watermark == START + 3600 * SECOND


def test_a_batch_of_refused_events_alone_moves_the_offset() -> None:
    stage = Stage1(METRICS)
    stage.state.idle = True

    assert stage.feed(call(10**6, timestamp=START // 1000)) == ["future"]

    assert (stage.state.watermark, stage.state.last_offset, stage.state.idle) == (0, 0, False)
    assert len(stage.commit()[0]) == 0


def test_an_event_that_no_metric_selects_moves_the_watermark_and_is_never_late() -> None:
    stage = Stage1(METRICS, grace=0)

    said = stage.feed(call(5), call(75, type="llm.stream"), call(6, duration=None), call(7))

    assert said == ["taken", "taken", "taken", "late"]


def test_only_what_changed_is_sent_and_the_whole_cell_is() -> None:
    stage = Stage1(METRICS)
    stage.feed(call(5), call(5, "b"))
    stage.commit()
    stage.feed(call(6, "b"), call(12))

    partials, marks = stage.commit()

    assert sorted(zip(partials.series, partials.sums[0].tolist(), strict=True)) == [
        ("a", 1),
        ("b", 2),
    ]
    assert marks == {(LLM, 0): Mark(START + 12 * SECOND, 3, idle=False)}
    assert len(stage.commit()[0]) == 0


def test_a_worker_that_begins_anew_goes_on_where_the_state_ends() -> None:
    metrics = {"m": measured(windows=["10s", "session 5s"]), "n": measured(value="input_tokens")}
    rows = [call(at, model, input_tokens=7) for at in (5, 6, 14, 16) for model in ("a", "b", None)]
    straight, broken = Stage1(metrics), Stage1(metrics)
    straight.feed(*rows)
    broken.feed(*rows[:7])
    broken.commit()

    broken.crash()
    broken.feed(*rows[7:])

    assert broken.cells() == straight.cells()
    assert broken.mark() == straight.mark()


def test_cells_of_a_metric_that_is_no_more_are_dropped() -> None:
    stage = Stage1({"m": measured(), "gone": measured(windows=["20s"])})
    stage.feed(call(5))
    stage.commit()
    stage.metrics = METRICS
    stage.crash()

    assert stage.cells() == [Cell("m", ("a",), 0, 1)]


# The cap: two series in a pane.
CROWD = [call(1, "a"), call(2, "b"), call(3, "c"), call(4, "a"), call(13, "c"), call(14, None),
         call(15, "a"), call(5, "d", sample_rate=9)]  # fmt: skip
CAPPED = [
    Cell("m", ("",), 10, 1),
    Cell("m", ("__other__",), 0, 10),
    Cell("m", ("__other__",), 10, 1),
    Cell("m", ("a",), 0, 2),
    Cell("m", ("b",), 0, 1),
    Cell("m", ("c",), 10, 1),
]


@pytest.mark.parametrize("cut", range(len(CROWD) + 1))
def test_series_beyond_the_cap_fall_to_other_in_order_of_arrival(cut: int) -> None:
    stage = Stage1(METRICS, cap=2)

    stage.feed(*CROWD[:cut])
    stage.feed(*CROWD[cut:])

    assert stage.cells() == CAPPED
    assert stage.state.capped == {"m": 3}


def test_the_cap_of_a_metric_wins_and_no_dimensions_know_no_cap() -> None:
    metrics = {"own": measured(max_series=3), "all": measured(dimensions=[])}
    stage = Stage1(metrics, cap=1)
    stage.feed(*CROWD[:4])

    assert stage.cells() == [
        Cell("all", (), 0, 4),
        Cell("own", ("a",), 0, 2),
        Cell("own", ("b",), 0, 1),
        Cell("own", ("c",), 0, 1),
    ]


def test_every_label_of_a_capped_series_is_other() -> None:
    stage = Stage1({"m": measured(dimensions=["provider", "model"])}, cap=1)
    stage.feed(*CROWD[:2])

    assert [cell.labels for cell in stage.cells()] == [("__other__", "__other__"), ("p", "a")]


def test_a_label_that_is_called_other_is_counted_with_the_capped_ones() -> None:
    stage = Stage1(METRICS, cap=1)
    stage.feed(call(1, "a"), call(2, "__other__"), call(3, "b"), call(11, "__other__"))
    stage.feed(call(4, "__other__"), call(12, "b"))

    assert stage.cells() == [
        Cell("m", ("__other__",), 0, 3),
        Cell("m", ("__other__",), 10, 2),
        Cell("m", ("a",), 0, 1),
    ]


def test_series_come_and_go_and_are_never_mistaken_for_one_another() -> None:
    """300 series a pane, half of them new; only two panes are held."""
    stage = Stage1(METRICS, grace=0)
    for pane in range(12):
        names = [f"s{150 * pane + number}" for number in range(300)]
        stage.feed(*(call(10 * pane, name, sample_rate=pane + 1) for name in names))
        sent, _ = stage.commit()

        assert sorted(sent.series) == sorted(names)
        assert set(sent.sums[0].tolist()) == {pane + 1}
        assert {cell.start for cell in stage.cells()} == {10.0 * pane}


def test_late_events_take_no_place_under_the_cap() -> None:
    stage = Stage1(METRICS, grace=0, cap=1)
    stage.feed(call(25, "a"), call(3, "b"))

    assert stage.cells() == [Cell("m", ("a",), 20, 1)]
    assert not stage.state.capped


def test_the_cap_holds_after_a_crash() -> None:
    stage = Stage1(METRICS, cap=2)
    stage.feed(*CROWD[:3])
    stage.commit()

    stage.crash()
    stage.feed(*CROWD[3:])

    assert stage.cells() == CAPPED


def test_a_place_that_a_series_without_a_value_took_is_kept_after_a_crash() -> None:
    rows = [call(1, "a"), call(2, "b", duration=None), call(3, "c")]
    straight, stage = Stage1(METRICS, cap=2), Stage1(METRICS, cap=2)
    straight.feed(*rows)
    stage.feed(*rows[:2])
    stage.commit()

    stage.crash()
    stage.feed(rows[2])

    assert stage.cells() == straight.cells()


@pytest.mark.parametrize("cut", range(5))
def test_sessions_are_capped_in_each_stretch_of_a_gap(cut: int) -> None:
    rows = [call(at, session_id=name) for at, name in ((1, "x"), (2, "y"), (12, "y"), (3, "z"))]
    stage = Stage1(SESSIONS, cap=1)
    stage.feed(*rows[:cut])
    stage.feed(*rows[cut:])

    assert stage.cells() == [
        Cell("m", ("__other__",), 2, 2),
        Cell("m", ("x",), 1, 1),
        Cell("m", ("y",), 12, 1),
    ]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({}, [True, True, True]),
        ({"model": "a"}, [True, False, False]),
        ({"model": ["a", "b"]}, [True, True, False]),
        ({"model": {"not": "a"}}, [False, True, False]),
        ({"model": {"not": ["a", "b"]}}, [False, False, False]),
        ({"model": {"present": True}}, [True, True, False]),
        ({"model": {"present": False}}, [False, False, True]),
        ({"duration": {"gte": 1000, "lte": 1500}}, [True, False, False]),
        ({"model": {"differs_from": "provider"}}, [True, True, False]),
        ({"attributes.region": "eu"}, [False, True, False]),
        ({"attributes.region": {"present": False}}, [True, False, True]),
        ({"model": ["a", "b"], "duration": {"gte": 1001}}, [False, True, False]),
    ],
)
def test_conditions(condition: dict[str, Any], expected: list[bool]) -> None:
    rows = [
        call(0, "a"),
        call(0, "b", duration=2000, attributes={"region": "eu"}),
        call(0, None, duration=1),
    ]

    columns = Columns(batch_of(LLM, rows), np.arange(3))

    assert list(columns.mask(measured(where=condition).where)) == expected


def test_a_float_that_is_no_number_is_no_value() -> None:
    usual = {"type": "trade.gate", "sample_rate": 1}
    values = [float("nan"), None, 1e300, -1e300, 0.5]
    rows = [{**usual, "time": START, "gate_value": value} for value in values]
    metric = measured(
        event="events.trade", where={}, error_when={}, value="gate_value", unit="", dimensions=[]
    )
    columns = Columns(batch_of("events.trade", rows), np.arange(5))

    valid, found = columns.valid(metric), columns.values(metric)

    assert valid is not None
    assert list(valid) == [False, False, True, True, True]
    assert list(found[2:]) == [9 * 10**18, -9 * 10**18, 500_000]
