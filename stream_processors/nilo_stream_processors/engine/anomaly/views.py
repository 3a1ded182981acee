"""The views of a series: its newest points, and moving means, against longer moving means.

Each view asks whether something has moved within one span: the last point, the last two or three,
or a moving mean against the next longer one. They are taken of the values themselves, and once more
of what the season leaves of them. One more view asks how rough the series is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nilo_stream_processors.engine.arrays import Bools, Floats

if TYPE_CHECKING:
    from nilo_stream_processors.engine.anomaly.state import Rows

# Points of the moving means: what the newest points are compared with, then from short to long.
POINTS = (64.0, 2.0, 24.0, 96.0, 600.0, 3000.0)
LEVELS = len(POINTS)
# Of values and of what the season leaves: one, two, three points; then the moving means.
ONE, TWO, THREE, *MEANS = range(3 + LEVELS - 2)
_OF_EACH = 3 + LEVELS - 2
ROUGH = 2 * _OF_EACH
# Which of all these are looked at: the others have nothing to add.
CHOSEN = (TWO, MEANS[0], MEANS[3], _OF_EACH + ONE, _OF_EACH + MEANS[0], ROUGH)
VIEWS = len(CHOSEN)
SEASONAL = np.array([_OF_EACH <= view < ROUGH for view in CHOSEN])
# The views that tell how far single points usually lie from the moving mean: of values, of rests.
POINT_VIEWS = np.array([0, 3])
# A point counts for the reference at most so many usual deviations away from it.
_CLIP = 6.0
_ROUGH_POINTS = (6.0, 200.0)
_SETTLED = 20

_CHOSEN = np.array(CHOSEN)
_RATES = 1 / np.array(POINTS)[None, :, None]
_ROUGH_RATES = 1 / np.array(_ROUGH_POINTS)[:, None]


def look(rows: Rows, points: Floats, seen: Bools) -> Floats:
    """All chosen views of the newest points, which are taken into the moving means.

    Args:
        rows: the series.
        points: the values and what the season leaves of them, by series.
        seen: of these, which there are: without a season nothing is left to look at.

    Returns:
        By view and series; what is unseen means nothing.
    """
    fresh = seen & (rows.seen == 0)
    if fresh.any():
        np.copyto(rows.levels, points[:, None], where=fresh[:, None])
        np.copyto(rows.past, points[:, None], where=fresh[:, None])
    found = np.empty((ROUGH + 1, points.shape[-1]))
    of_each = found[:ROUGH].reshape(2, _OF_EACH, -1)
    _newest(rows, points, of_each)
    step = np.abs(points[0] - rows.past[0, 1])
    _move(rows, points, seen, of_each)
    found[ROUGH] = _roughness(rows, step)
    return found[_CHOSEN]


def _newest(rows: Rows, points: Floats, found: Floats) -> None:
    """The means of the last one, two and three points, from the reference."""
    away = points - rows.levels[:, 0]
    found[:, ONE] = away
    away_before = rows.past - rows.levels[:, :1]
    two = away + away_before[:, 1]
    found[:, TWO] = two / 2
    found[:, THREE] = (two + away_before[:, 0]) / 3


def _move(rows: Rows, points: Floats, seen: Bools, found: Floats) -> None:
    """Take the points into the moving means; each mean before against the shorter one now."""
    rate = np.maximum(_RATES, (1 / (rows.seen + 1))[:, None]) * seen[:, None]
    error = points[:, None] - rows.levels
    limit = _CLIP * rows.scale[POINT_VIEWS]
    limit[rows.seen <= _SETTLED] = np.inf
    np.minimum(np.maximum(error[:, 0], -limit), limit, out=error[:, 0])
    before = rows.levels[:, 2:].copy()
    rows.levels += rate * error
    np.subtract(rows.levels[:, 1:-1], before, out=found[:, 3:])
    np.copyto(rows.past[:, 0], rows.past[:, 1], where=seen)
    np.copyto(rows.past[:, 1], points, where=seen)


def _roughness(rows: Rows, step: Floats) -> Floats:
    """Logarithm of the short mean of the steps over the long one before."""
    long = rows.roughness[1].copy()
    rate = np.maximum(_ROUGH_RATES, 1 / (rows.seen[0] + 1))
    rows.roughness += rate * (step - rows.roughness)
    floor = 1e-3 * long + 1e-300
    ratio: Floats = np.log((rows.roughness[0] + floor) / (long + floor))
    return ratio
