"""The engine's corners: watermarks, lateness, finality, revisions, expiry, histograms."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from nilo_schemas.catalogue import Catalogue, Metric
from nilo_stream_processors.engine.aggregate import Disorder, SourceState, aggregate, expired
from nilo_stream_processors.engine.columns import mask
from nilo_stream_processors.engine.histogram import Buckets, bucket_indexes, quantiles
from nilo_stream_processors.engine.merge import MergeState, publish, take
from nilo_stream_processors.engine.merge import expired as merge_expired
from nilo_stream_processors.engine.partials import partial_of, to_microseconds, watermark_of
from tests.property.test_engine import METRIC, METRICS, START, batch_of

SECOND = 1_000_000
EPOCH = to_microseconds(START)
SOURCE = ("events.llm", 0)
CATALOGUE = Catalogue(metrics=METRICS)


def call(seconds: float, **more: Any) -> dict[str, Any]:
    row = {"type": "llm.call", "model": "a", "provider": "p", "status": "OK"}
    return {**row, "duration": 1000, "sample_rate": 1, "at": round(seconds * SECOND), **more}


def feed(state: SourceState, rows: list[dict[str, Any]], disorder: Disorder) -> list[bool]:
    first = state.last_offset + 1
    offsets = np.arange(first, first + len(rows))
    return list(aggregate(state, METRICS, batch_of(rows), offsets, disorder))


def test_the_watermark_is_the_largest_time_less_the_bound_and_never_goes_back() -> None:
    state, disorder = SourceState(), Disorder(bound=2 * SECOND, grace=0)

    feed(state, [call(30), call(10)], disorder)

    assert state.watermark == EPOCH + 28 * SECOND


def test_lateness_is_judged_row_by_row_whatever_the_batch_edges() -> None:
    """[0, 10) closes at 12; the second event is late, the first of the same window is not."""
    disorder = Disorder(bound=2 * SECOND, grace=0)
    rows = [call(5), call(75), call(6)]

    whole = feed(SourceState(), rows, disorder)
    state = SourceState()
    single = [late for row in rows for late in feed(state, [row], disorder)]

    assert whole == single == [False, False, True]


def test_an_event_within_the_grace_is_taken() -> None:
    state, disorder = SourceState(), Disorder(bound=0, grace=3600 * SECOND)

    assert feed(state, [call(5), call(75), call(6)], disorder) == [False, False, False]
    assert {key.start - EPOCH: cell.count for key, cell in state.cells.items()}[0] == 2


def test_cells_that_nothing_can_reach_any_more_go() -> None:
    state, disorder = SourceState(), Disorder(bound=0, grace=5 * SECOND)
    feed(state, [call(5), call(76)], disorder)

    gone = expired(state, disorder.grace)

    assert {(key.start - EPOCH) // SECOND for key in gone} == {0}
    assert {(key.start - EPOCH) // SECOND for key in state.cells} == {60, 70}


def merged_after(rows: list[dict[str, Any]], *, partitions: int, idle: bool = False) -> MergeState:
    state, merge = SourceState(), MergeState()
    feed(state, rows, Disorder(bound=0, grace=3600 * SECOND))
    state.idle = idle
    for key in state.dirty:
        take(merge, partial_of(key, state.cells[key], METRIC, SOURCE, state.watermark), 0)
    take(merge, watermark_of(SOURCE, state), 0)
    for number in range(1, partitions):
        idle_state = SourceState(idle=True)
        take(merge, watermark_of(("events.llm", number), idle_state), 0)
    return merge


def shown(merge: MergeState, partitions: int) -> list[tuple[str, int, bool, int]]:
    windows = [window for _, window in publish(merge, CATALOGUE, lambda topic: partitions)]
    return [
        (w.window, int((w.window_start - START).total_seconds()), w.final, w.revision)
        for w in windows
    ]


def test_a_window_is_final_once_the_watermark_has_passed_its_end() -> None:
    merge = merged_after([call(5), call(15)], partitions=1)

    assert sorted(shown(merge, 1)) == [
        ("10s", 0, True, 0),
        ("10s", 10, False, 0),
        ("1m", 0, False, 0),
    ]


def test_nothing_is_final_before_every_partition_has_reported() -> None:
    merge = merged_after([call(5), call(15)], partitions=1)

    assert not any(final for *_, final, _ in shown(merge, 2))


def test_idle_partitions_hold_up_nobody_and_a_silent_stream_closes_all() -> None:
    assert ("10s", 0, True, 0) in shown(merged_after([call(5), call(15)], partitions=3), 3)
    silent = merged_after([call(5), call(15)], partitions=3, idle=True)
    assert all(final for *_, final, _ in shown(silent, 3))


def test_new_events_of_an_idle_source_do_not_close_their_window_at_once() -> None:
    merge = merged_after([call(5)], partitions=1, idle=True)
    shown(merge, 1)
    later = SourceState()
    feed(later, [call(5), call(75)], Disorder(0, 3600 * SECOND))
    for key in later.dirty:
        take(merge, partial_of(key, later.cells[key], METRIC, SOURCE, later.watermark), 0)

    assert ("10s", 70, False, 0) in shown(merge, 1)


def test_a_late_partial_raises_the_revision_of_a_final_window() -> None:
    merge = merged_after([call(5), call(15)], partitions=1)
    shown(merge, 1)
    later = SourceState()
    feed(later, [call(5), call(15), call(6)], Disorder(0, 3600 * SECOND))
    for key in later.dirty:
        take(merge, partial_of(key, later.cells[key], METRIC, SOURCE, later.watermark), 0)

    assert ("10s", 0, True, 1) in shown(merge, 1)


def test_forgotten_windows_do_not_come_back() -> None:
    merge = merged_after([call(5), call(500)], partitions=1)
    list(publish(merge, CATALOGUE, lambda topic: 1))
    gone = merge_expired(merge, CATALOGUE, lambda topic: 1, 0)
    again = SourceState()
    feed(again, [call(5)], Disorder(0, 3600 * SECOND))
    for key in again.dirty:
        take(merge, partial_of(key, again.cells[key], METRIC, SOURCE, 0), 0)

    assert gone
    assert not set(gone) & merge.windows.keys()
    assert merge.late == 2


@pytest.mark.parametrize("scale", [0, 3, 5])
def test_a_bucket_holds_what_its_bounds_say(scale: int) -> None:
    """Bucket i is (base**i, base**(i+1)]; powers of two lie on upper bounds at every scale."""
    base = 2.0 ** (2.0**-scale)
    values = np.array([0.3, 1.0, 1.5, 2.0, 1024.0, 1e-6])

    for value, index in zip(values, bucket_indexes(values, scale), strict=True):
        assert base**index < value * (1 + 1e-12)
        assert value <= base ** (index + 1) * (1 + 1e-12)
    assert bucket_indexes(np.array([2.0]), scale)[0] == 2**scale - 1


def test_quantiles_count_negative_values_and_zeros() -> None:
    buckets = Buckets(zero=1, negative=2, counts=Counter({0: 1}))

    assert quantiles(buckets, 5, [0.5, 0.75], -3.0, 1.01) == {"p50": -3.0, "p75": 0.0}
    assert quantiles(Buckets(), 5, [0.5], 0, 0) == {}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"model": "a"}, [True, False, False]),
        ({"model": ["a", "b"]}, [True, True, False]),
        ({"model": {"not": "a"}}, [False, True, False]),
        ({"model": {"present": True}}, [True, True, False]),
        ({"model": {"present": False}}, [False, False, True]),
        ({"duration": {"gte": 1000, "lte": 1500}}, [True, False, False]),
        ({"model": {"differs_from": "provider"}}, [True, True, False]),
        ({"attributes.region": "eu"}, [False, False, False]),
    ],
)
def test_conditions(condition: dict[str, Any], expected: list[bool]) -> None:
    rows = [call(0, model="a"), call(0, model="b", duration=2000), call(0, model=None, duration=1)]
    metric = Metric.model_validate({**METRIC.model_dump(by_alias=True), "where": condition})

    assert list(mask(metric.where, batch_of(rows))) == expected


def test_microseconds_survive() -> None:
    assert to_microseconds(START + timedelta(microseconds=1)) == EPOCH + 1
