"""The detector of anomalies: what it says of made-up series, and what becomes of its state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nilo_schemas.errors import NiloError
from nilo_stream_processors.engine.anomaly import (
    THRESHOLD,
    WARM_UP,
    Detectors,
    Judged,
    Shape,
    ValueRefusedError,
    phrase,
)
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints

STEP = 300_000_000
DAY = 86_400_000_000 // STEP
# Monday 2024-01-01.
BEGIN = 1_704_067_200_000_000
ONE = np.zeros(1, np.int64)


def noise(count: int, series: int = 1) -> Floats:
    return np.random.default_rng(7).standard_normal((count, series))


def daily(count: int, strength: float) -> Floats:
    wave: Floats = strength * np.sin(2 * np.pi * np.arange(count) / DAY)
    return wave[:, None]


def fed(detectors: Detectors, values: Floats, first: int = 0) -> Iterator[Judged]:
    """Feed rows of values of series 0, 1, ..., one window after another."""
    slots = np.arange(values.shape[1])
    for row, new in enumerate(values):
        times = np.full(len(slots), BEGIN + (first + row) * STEP)
        yield detectors.take(slots, times, new)


def alarms(judged: list[Judged]) -> Ints:
    """The rows in which the first series had an alarm."""
    return np.flatnonzero([one.score[0] >= THRESHOLD for one in judged])


def shapes(values: Floats) -> list[tuple[int, Shape]]:
    """Row and shape of each alarm of the first series."""
    judged = list(fed(Detectors(STEP), values))
    return [(int(row), Shape(judged[row].shape[0])) for row in alarms(judged)]


def content(detectors: Detectors, slots: Ints) -> bytes:
    """The stored state, to the bit: in it are numbers that are none, which equal nothing."""
    columns = detectors.stored(slots).columns
    return b"".join(column.flatten().to_numpy().tobytes() for column in columns)


def same(left: Judged, right: Judged, rows: Ints | slice) -> bool:
    pairs = [(getattr(left, one.name), getattr(right, one.name)) for one in fields(Judged)]
    return all(np.array_equal(a[rows], b) for a, b in pairs)


def test_a_series_is_not_judged_before_it_was_seen_enough() -> None:
    values = noise(WARM_UP + 1)
    values[WARM_UP // 2 :: 5] += 1000
    judged = list(fed(Detectors(STEP), values))
    assert [bool(one.ready[0]) for one in judged] == [False] * WARM_UP + [True]
    assert [int(one.seen[0]) for one in judged] == list(range(1, WARM_UP + 2))
    assert not any(one.score[0] for one in judged[:WARM_UP])


def test_one_at_a_time_is_all_at_once_to_the_bit() -> None:
    values = noise(4 * DAY, 5).cumsum(axis=0)
    together, alone = Detectors(STEP), Detectors(STEP)
    for row, judged in enumerate(fed(together, values)):
        for slot in range(5):
            time = np.full(1, BEGIN + row * STEP)
            one = alone.take(np.full(1, slot), time, values[row, slot : slot + 1])
            assert same(judged, one, slice(slot, slot + 1))


def test_what_is_restored_elsewhere_goes_on_as_if_never_stopped() -> None:
    values = noise(9 * DAY, 3) + daily(9 * DAY, 4)
    stays, half = Detectors(STEP), 8 * DAY
    for _ in fed(stays, values[:half]):
        pass
    moved, slots = Detectors(STEP), np.array([700, 2, 41])
    moved.restore(slots, stays.stored(np.arange(3)))
    for row, judged in enumerate(fed(stays, values[half:], half)):
        times = np.full(3, BEGIN + (half + row) * STEP)
        assert same(judged, moved.take(slots, times, values[half + row]), slice(None))
    assert content(moved, slots) == content(stays, np.arange(3))


def test_the_state_of_another_version_is_none() -> None:
    used, heir, values = Detectors(STEP), Detectors(STEP), noise(2 * WARM_UP)
    for _ in fed(used, values):
        pass
    stored = used.stored(ONE)
    older = stored.set_column(0, "numbers", pa.array([[1.0] * 45], pa.list_(pa.float64(), 45)))
    heir.restore(ONE, older)
    for left, right in zip(fed(heir, values), fed(Detectors(STEP), values), strict=True):
        assert same(left, right, slice(None))


def test_a_slot_that_was_forgotten_begins_anew() -> None:
    values, used, new = noise(2 * WARM_UP), Detectors(STEP), Detectors(STEP)
    for _ in fed(used, 50 + 9 * values):
        pass
    used.forget(ONE)
    for left, right in zip(fed(used, values), fed(new, values), strict=True):
        assert same(left, right, slice(None))


def test_a_series_takes_the_same_memory_for_ever() -> None:
    detectors, values = Detectors(STEP), noise(6 * DAY)
    sizes = {detectors.stored(ONE).nbytes for _ in fed(detectors, values)}
    assert len(sizes) == 1
    assert sizes.pop() < 2048


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_finite_number_is_refused_and_nothing_taken_in(value: float) -> None:
    detectors = Detectors(STEP)
    for _ in fed(detectors, noise(10, 2)):
        pass
    before = content(detectors, np.arange(2))
    times = np.full(2, BEGIN + 10 * STEP)
    with pytest.raises(ValueRefusedError, match=r"finite numbers, not .* \(slot 1") as caught:
        detectors.take(np.arange(2), times, np.array([0.0, value]))
    assert isinstance(caught.value, NiloError)
    assert content(detectors, np.arange(2)) == before


@pytest.mark.filterwarnings("error")
def test_the_largest_and_least_numbers_leave_numbers_behind() -> None:
    chance, detectors = np.random.default_rng(1), Detectors(STEP)
    sizes = np.array([0.0, 1e-320, 1.0, 1e18, 1e36, np.finfo(float).max])
    values = chance.choice(sizes, (3 * DAY, 4)) * chance.choice([-1, 1], (3 * DAY, 4))
    for judged in fed(detectors, values):
        for name in ("score", "expected", "spread"):
            assert np.isfinite(getattr(judged, name)).all(), name
        assert ((judged.score >= 0) & (judged.score <= 1)).all()


def test_a_constant_series_has_no_alarm() -> None:
    values = np.full((4 * DAY, 1), 45.0)
    assert not len(alarms(list(fed(Detectors(STEP), values))))


def test_small_changes_on_a_large_number_are_found_as_if_there_were_none() -> None:
    values = noise(4 * DAY)
    values[-20:] += 9
    plain, lifted = alarms(list(fed(Detectors(STEP), values))), values + 1e9
    assert plain[-1] >= 4 * DAY - 20
    assert np.array_equal(plain, alarms(list(fed(Detectors(STEP), lifted))))


def test_after_missing_windows_the_season_is_still_known() -> None:
    values = (noise(7 * DAY) + daily(7 * DAY, 20))[:, 0]
    kept: Bools = np.ones(7 * DAY, np.bool_)
    kept[5 * DAY : 5 * DAY + DAY // 2] = False
    detectors, found = Detectors(STEP), []
    for row in np.flatnonzero(kept):
        time = np.full(1, BEGIN + int(row) * STEP)
        found.append(detectors.take(ONE, time, values[row : row + 1]))
    after = found[5 * DAY]
    # The first window after the gap is half a day on: noon, not midnight.
    assert abs(float(after.expected[0]) - values[5 * DAY + DAY // 2]) < 6 * after.spread[0]
    assert not [row for row in alarms(found) if 5 * DAY <= row < 5 * DAY + 12]


def test_the_baseline_is_the_season_and_its_usual_deviation() -> None:
    wave = daily(10 * DAY, 20)
    judged = list(fed(Detectors(STEP), 2 * noise(10 * DAY) + wave + 300))
    late = slice(9 * DAY, None)
    expected = np.array([one.expected[0] for one in judged[late]])
    assert np.abs(expected - 300 - wave[late, 0]).mean() < 1.5
    assert 1.5 < np.mean([one.spread[0] for one in judged[late]]) < 3


def test_an_alarm_is_followed_by_silence_but_not_by_deafness() -> None:
    values = noise(4 * DAY)
    values[900:906] += 12
    values[915] += 400
    found = alarms(list(fed(Detectors(STEP), values)))
    assert len(found[(found >= 900) & (found < 906)]) == 1
    assert 915 in found


@pytest.mark.parametrize(("sign", "shape"), [(1, Shape.SPIKE), (-1, Shape.DIP)])
def test_a_single_far_value_is_a_spike_or_a_dip(sign: int, shape: Shape) -> None:
    values = noise(4 * DAY)
    values[1000] += sign * 15
    assert (1000, shape) in shapes(values)


def test_values_that_stay_elsewhere_are_a_level_shift() -> None:
    values = noise(4 * DAY)
    values[1000:] += 12
    judged = list(fed(Detectors(STEP), values))
    assert len([row for row in alarms(judged) if 1000 <= row < 1003]) == 1
    assert [Shape(one.shape[0]) for one in judged[1001:1004]] == [Shape.LEVEL_SHIFT] * 3


def test_what_moves_slowly_is_a_drift() -> None:
    values = noise(8 * DAY)
    values[1200:, 0] += np.arange(8 * DAY - 1200) * 0.02
    found = [one for one in shapes(values) if one[0] >= 1200]
    assert found[0][1] is Shape.DRIFT


def test_an_ordinary_value_at_an_extraordinary_time_is_out_of_season() -> None:
    values = noise(8 * DAY) + daily(8 * DAY, 30)
    night = 7 * DAY + 3 * DAY // 4
    values[night : night + 12] += 30
    assert (night, Shape.OUT_OF_SEASON) in shapes(values)


def test_a_series_that_falls_still_has_changed_its_variance() -> None:
    values = noise(4 * DAY)
    values[1000:] *= 0.001
    found = [one for one in shapes(values) if one[0] >= 1000]
    assert found[0][1] is Shape.CHANGED_VARIANCE


def test_every_shape_has_words_and_a_season_its_time() -> None:
    said = {shape: phrase(shape, BEGIN) for shape in Shape}
    assert len(set(said.values())) == len(Shape)
    assert said[Shape.OUT_OF_SEASON] == "unusual for Monday 00:00 UTC"


def test_no_series_are_no_trouble() -> None:
    nothing: dict[str, Any] = {"slots": ONE[:0], "times": ONE[:0], "values": np.zeros(0)}
    assert len(Detectors(STEP).take(**nothing).score) == 0
