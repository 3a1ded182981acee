"""Small shifts that last, in made-up series: when they are found, and when nothing is said."""

from __future__ import annotations

import numpy as np

from nilo_stream_processors.engine.anomaly import THRESHOLD, Detectors, Shape
from nilo_stream_processors.engine.anomaly.reliance import deseasoned
from nilo_stream_processors.engine.anomaly.state import WIDTH, Rows
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints

STEP = 300_000_000
DAY = 86_400_000_000 // STEP
BEGIN = 1_704_067_200_000_000  # Monday 2024-01-01
SERIES = 20


def noise(days: int) -> Floats:
    return np.random.default_rng(11).standard_normal((days * DAY, SERIES))


def judged(values: Floats) -> tuple[Bools, Ints]:
    """Alarms and shapes by row and series."""
    detectors, slots = Detectors(STEP), np.arange(values.shape[1])
    found = [
        detectors.take(slots, np.full(len(slots), BEGIN + row * STEP), new)
        for row, new in enumerate(values)
    ]
    return np.array([one.score >= THRESHOLD for one in found]), np.array(
        [one.shape for one in found]
    )


def test_three_points_of_three_deviations_are_found_and_called_a_level_shift() -> None:
    values, begin = noise(14), 13 * DAY + 77
    values[begin : begin + 12] += 3
    alarms, shapes = judged(values)
    here = slice(begin, begin + 3)

    assert alarms[here].any(axis=0).sum() >= SERIES * 3 // 4
    assert (shapes[begin + 2][alarms[begin + 2]] == Shape.LEVEL_SHIFT).all()


def test_a_rise_to_three_deviations_in_two_hours_is_found_and_called_a_drift() -> None:
    values, begin = noise(14), 13 * DAY + 77
    values[begin : begin + 24] += np.linspace(0, 3, 24)[:, None]
    values[begin + 24 : begin + 36] += 3
    alarms, shapes = judged(values)
    here = slice(begin, begin + 27)

    assert alarms[here].any(axis=0).sum() >= SERIES * 3 // 4
    assert (shapes[here][alarms[here]] == Shape.DRIFT).sum() >= SERIES // 2


def test_a_night_of_twice_the_noise_is_no_row_of_shifts() -> None:
    values = noise(14)
    night = np.arange(len(values)) % DAY < DAY // 3
    values[night] *= 2
    alarms, _ = judged(values)

    # A week of twenty series is 140 series-days, in which nothing has long been learned.
    assert alarms[7 * DAY :].sum() <= 21


def test_points_that_foretell_the_next_are_not_summed_up() -> None:
    chance, values = noise(14), np.empty((14 * DAY, SERIES))
    level = np.zeros(SERIES)
    for row, new in enumerate(chance):
        level = 0.95 * level + new
        values[row] = level
    alarms, _ = judged(values)

    assert alarms[7 * DAY :].sum() <= 14


def test_a_season_that_does_not_come_true_is_left_on_and_one_that_does_is_taken_off() -> None:
    rng = np.random.default_rng(5)
    rows = Rows(np.zeros((WIDTH, 2)))
    always, left = np.ones(2), np.zeros(2)
    for _ in range(5000):
        season = rng.standard_normal(2)
        # The first series has nothing of what its season says, the second all of it.
        values = 0.1 * rng.standard_normal(2) + np.array([0, 1]) * season
        points = np.array([values, values - season])
        left = deseasoned(rows, points, always, always / 100, 9 * always)

    share = rows.agreed[0] / rows.agreed[1]
    assert share[0] < 0.05
    assert share[1] > 0.95
    assert np.abs(left).max() < 0.5
