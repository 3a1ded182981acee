"""The measure itself: the brute force by hand-made examples, and that no difference is missed."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nilo_schemas.catalogue import Catalogue, Metric
from tests.chaos.compare import differences
from tests.chaos.expected import SECOND, Expected, Row, WindowKey
from tests.chaos.progress import Sample, caught_up
from tests.chaos.schedule import UP, draw_plan

START = datetime(2026, 1, 1, tzinfo=UTC)
ZERO = int(START.timestamp()) * SECOND
A = (("model", "a"),)
METRIC: dict[str, Any] = {
    "description": "d",
    "owner": "o",
    "event": "events.llm",
    "where": {"type": "llm.call"},
    "error_when": {"status": "ERROR"},
    "dimensions": ["model"],
    "windows": ["10s", "1m"],
    "rollups": [],
}
CATALOGUE = Catalogue(
    metrics={
        "calls": Metric.model_validate(METRIC | {"aggregates": ["count", "errors"]}),
        "seconds": Metric.model_validate(
            METRIC
            | {"value": "duration", "unit": "seconds", "quantiles": [0.5, 0.99]}
            | {"aggregates": ["count", "errors", "sum", "min", "max", "mean", "quantiles"]}
        ),
    }
)


def row(offset: int, seconds: float, partition: int = 0, **more: Any) -> Row:
    values = {
        "type": "llm.call",
        "time": START + timedelta(seconds=seconds),
        "model": "a",
        "status": "OK",
        "duration": 1_000_000,
        "sample_rate": 1,
    }
    return Row(partition, offset, values | more)


def expect(*rows: Row, bound: float = 2, grace: float = 30) -> Expected:
    expected = Expected(CATALOGUE, "events.llm", bound, grace)
    expected.take(rows)
    return expected


def test_rows_fall_into_their_windows_with_their_weights_and_values() -> None:
    expected = expect(
        row(5, 0),
        row(6, 9.999999, status="ERROR", duration=3_000_000, sample_rate=7),
        row(7, 10, duration=None),
        row(8, 1, type="llm.stream"),
        row(2, 3, partition=1, model=None),
    )

    calls = {key: w.count for key, w in expected.windows.items() if key.metric == "calls"}
    assert calls == {
        WindowKey("calls", "10s", ZERO, A): 8,
        WindowKey("calls", "10s", ZERO + 10 * SECOND, A): 1,
        WindowKey("calls", "1m", ZERO, A): 9,
        WindowKey("calls", "10s", ZERO, (("model", ""),)): 1,
        WindowKey("calls", "1m", ZERO, (("model", ""),)): 1,
    }
    minute = expected.windows[WindowKey("seconds", "1m", ZERO, A)]
    assert (minute.count, minute.errors, minute.total()) == (8, 7, 22_000_000)
    assert [minute.quantile(share) for share in (0.1, 0.125, 0.126)] == [
        1_000_000,
        1_000_000,
        3_000_000,
    ]
    assert minute.sources == {0: [5, 6]}


def test_a_row_is_late_when_its_partition_has_passed_its_pane_by_the_grace() -> None:
    """Bound 2, grace 30: [0, 10) takes rows while the partition's newest is below 42 s."""
    in_time = expect(row(0, 41.999999), row(1, 9))
    late = expect(row(0, 42), row(1, 9), row(2, 10), row(0, 9, partition=1))

    assert in_time.late == set()
    assert late.late == {(0, 1)}
    assert late.windows[WindowKey("calls", "1m", ZERO, A)].count == 3


def seen(expected: Expected) -> dict[WindowKey, dict[str, Any]]:
    """What a right engine publishes for these windows."""
    found = {}
    for key, window in expected.windows.items():
        seconds = 10 if key.length == "10s" else 60
        values = sorted(window.values.elements())
        found[key] = {
            "count": window.count,
            "errors": window.errors,
            "sum": window.total() / SECOND,
            "min": values[0] / SECOND if values else None,
            "max": values[-1] / SECOND if values else None,
            "mean": window.total() / SECOND / window.count,
            "rate": window.count / seconds,
            "error_ratio": window.errors / window.count,
            "quantiles": {
                f"p{q}": window.quantile(q / 100) / SECOND for q in (50, 99) if window.values
            },
            "sources": [
                {"topic": "events.llm", "partition": p, "first_offset": f, "last_offset": t}
                for p, (f, t) in window.sources.items()
            ],
            "window_start": START,
            "window_end": START + timedelta(seconds=seconds),
        }
    return found


KEY = WindowKey("seconds", "10s", ZERO, A)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("count", 4),
        ("errors", 1),
        ("sum", 6.000001),
        ("min", 0.999999),
        ("max", None),
        ("mean", 2.0000001),
        ("rate", 0.31),
        ("error_ratio", 0.1),
        ("quantiles", {"p50": 2.023, "p99": 3.0}),
        ("quantiles", {"p50": 2.0}),
        ("sources", []),
    ],
)
def test_one_wrong_cell_is_one_difference(cell: str, value: Any) -> None:
    expected = expect(*(row(n, n, duration=n * SECOND) for n in (1, 2, 3)))
    right = seen(expected)
    wrong = deepcopy(right)
    wrong[KEY][cell] = value

    assert differences(expected.windows, right, CATALOGUE) == []
    (line,) = differences(expected.windows, wrong, CATALOGUE)
    assert line.startswith("seconds 10s at 1767225600 {model=a}: ")


def test_quantiles_may_be_off_by_as_much_as_their_buckets_are_wide() -> None:
    expected = expect(*(row(n, n, duration=n * SECOND) for n in (1, 2, 3)))
    right = seen(expected)
    right[KEY]["quantiles"] = {"p50": 2 * 1.0109, "p99": 3 / 1.0109}

    assert differences(expected.windows, right, CATALOGUE) == []


def test_missing_windows_and_windows_too_many_are_differences() -> None:
    expected = expect(row(0, 1), row(1, 11))
    wrong = seen(expected)
    wrong[KEY._replace(start=ZERO + 20 * SECOND)] = wrong.pop(KEY)

    assert [
        line.partition("}: ")[2] for line in differences(expected.windows, wrong, CATALOGUE)
    ] == [
        "no final window; count should be 1",
        "should not be; count is 1",
    ]


def test_catching_up_means_to_commit_what_was_there_when_the_fault_struck() -> None:
    samples = [
        Sample(0.0, {0: 5, 1: 5}, {0: 10, 1: 8}),
        Sample(1.0, {0: 9, 1: 9}, {0: 12, 1: 12}),
        Sample(2.0, {0: 10, 1: 9}, {0: 20, 1: 20}),
    ]

    assert caught_up(samples, 0.5) == 1.5
    assert caught_up(samples, 1.5) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_can_be_drawn_again_and_strikes_only_workers_that_are_there(seed: int) -> None:
    plan = draw_plan(str(seed), workers=3, seconds=90)

    assert draw_plan(str(seed), workers=3, seconds=90) == plan
    here: dict[int, float] = {}
    stopped = set()
    for action in plan.actions:
        match action.deed:
            case "start":
                here[action.worker] = action.at
            case "stop":
                assert action.at >= here[action.worker] + UP
                stopped.add(action.worker)
            case "continue":
                stopped.remove(action.worker)
            case "kill" | "leave":
                assert action.worker not in stopped
                assert action.at >= here.pop(action.worker) + UP
    assert 1 <= len(here) <= 4
    broker = [action.deed for action in plan.actions if action.deed.startswith("broker")]
    assert broker == ["broker down", "broker up"] * (len(broker) // 2)
