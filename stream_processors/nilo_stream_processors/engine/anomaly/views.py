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
# What each is taken of: 0 for values, 1 for what the season leaves.
BASES = np.array([int(_OF_EACH <= view < ROUGH) for view in CHOSEN])
# Of those chosen, the ones of slow moving means, and of roughness.
SLOW = [row for row, view in enumerate(CHOSEN) if view < ROUGH and view % _OF_EACH > MEANS[0]]
STEADY = [CHOSEN.index(ROUGH)]
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
    fresh = seen > rows.seen
    if np.count_nonzero(fresh):
        np.copyto(rows.levels, points[:, None], where=fresh[:, None])
        np.copyto(rows.past, points[:, None], where=fresh[:, None])
    found = np.empty((ROUGH + 1, points.shape[-1]))
    of_each = found[:ROUGH].reshape(2, _OF_EACH, -1)
    _newest(rows, points, of_each)
    found[ROUGH] = _roughness(rows, np.abs(points[0] - rows.past[0, 1]))
    _move(rows, points, seen, of_each)
    return found.take(_CHOSEN, axis=0)


def _newest(rows: Rows, points: Floats, found: Floats) -> None:
    """How far the means of the last one, two and three points are from the reference."""
    away = np.subtract(points, rows.levels[:, 0], out=found[:, ONE])
    before = rows.past - rows.levels[:, :1]
    away = away + before[:, 1]
    np.multiply(away, 1 / 2, out=found[:, TWO])
    away += before[:, 0]
    np.multiply(away, 1 / 3, out=found[:, THREE])


def _move(rows: Rows, points: Floats, seen: Bools, found: Floats) -> None:
    """Take the points into the moving means; each mean before against the shorter one now."""
    rate = np.maximum(_RATES, (1 / (rows.seen + 1))[:, None])
    rate *= seen[:, None]
    error = points[:, None] - rows.levels
    limit = _CLIP * rows.scale.take(POINT_VIEWS, axis=0)
    np.copyto(limit, np.inf, where=rows.seen <= _SETTLED)
    near = np.minimum(error[:, 0], limit)
    np.maximum(near, -limit, out=error[:, 0])
    before = rows.levels[:, 2:].copy()
    error *= rate
    rows.levels += error
    np.subtract(rows.levels[:, 1:-1], before, out=found[:, 3:])
    np.copyto(rows.past[:, 0], rows.past[:, 1], where=seen)
    np.copyto(rows.past[:, 1], points, where=seen)


def _roughness(rows: Rows, step: Floats) -> Floats:
    """Logarithm of the short mean of the steps over the long one before."""
    floor = 1e-3 * rows.roughness[1] + 1e-300
    long = rows.roughness[1] + floor
    rate = np.maximum(_ROUGH_RATES, 1 / (rows.seen[0] + 1))
    rate *= step - rows.roughness
    rows.roughness += rate
    ratio: Floats = np.log((rows.roughness[0] + floor) / long)
    return ratio
