"""Small shifts that last: cumulative sums of how far the values are from a level that moves.

A point that is three deviations away tells little, three of them one after another a lot. So what
the season leaves is followed by a level, and how far the points are from it, in deviations of that
hour of the day, is summed up as far as it exceeds a bound: S = max(0, S + z - k), and the same
downwards (Page 1954, CUSUM). Such a sum exceeds a size with a probability that falls exponentially;
how quickly, the series itself has shown.

The sums mean what they say when the points are independent: where one point away foretells the
next, they are not listened to. Nor are they before the series is a week old.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nilo_stream_processors.engine.anomaly.fixed import fixed
from nilo_stream_processors.engine.anomaly.slopes import follow_slope
from nilo_stream_processors.engine.anomaly.views import TINY, VALUES
from nilo_stream_processors.engine.arrays import Bools, Floats

if TYPE_CHECKING:
    from nilo_stream_processors.engine.anomaly.state import Rows

# Deviations that do not count, of sums for steps and for drifts; first those upwards.
BOUNDS = np.array([2.0, 1.2, 2.0, 1.2])[:, None]
SUMS = len(BOUNDS)
SIDE = SUMS // 2
# While a sum for steps is above 0, the series is away.
STEP, CREEP = range(SIDE)
# A point counts as so many deviations at most, and a sum is never larger.
_FARTHEST, _LARGEST = fixed(6.0), fixed(8.0)
# Weight of a new point for the level, and how many deviations count in full for it.
_GAIN, _CLIP = fixed(0.066), fixed(2.5)
# The first points of a level count in full, those that are away as well.
_YOUNG = fixed(50.0)
# A series that has been away for so many points has a new level.
_PATIENCE = fixed(48.0)
# The first points of an absence may be chance, and teach what chance does.
_CHANCE = fixed(2.0)
# Points of a level, and days of a series, before its sums are listened to.
_POINTS, _DAYS = fixed(288.0), fixed(7.0)
# Nor are they where a point is so correlated with the one before.
_CORRELATED = fixed(0.15)
# How often independent Gaussian points have sums above 0, and how large these are in the mean.
_SHARES = np.log10(np.array([0.03, 0.12, 0.03, 0.12]))[:, None]
FIRST_SIZES = np.array([0.45, 0.75, 0.45, 0.75])[:, None]
# Weights of a new sum and of a new product of neighbours, once there have been many; larger sums
# count as so many mean ones.
_SIZE_RATE, _PRODUCT_RATE, _SIZE_CAP = fixed(0.01), fixed(0.0007), fixed(3.0)
# No deviation is smaller than this part of that of the values.
_LEAST = fixed(0.02)
# Sums are looked at on both sides and for each point: an alarm wants more than of a view. Beyond
# the largest surprise there is nothing to tell.
_PART, _MOST = fixed(3.3 / 3.8), fixed(8.0 * 3.3 / 3.8)
_LOG_E = np.log10(fixed(np.e))
# Of a Gaussian variable, the standard deviation over the mean deviation.
DEVIATION = fixed(np.sqrt(np.pi / 2))
_NOTHING, _ONE = fixed(0.0), fixed(1.0)


@dataclass
class Shifts:
    """What the sums say of the newest points.

    Attributes:
        surprises: minus the decimal logarithm of the probability, by sum and series.
        size: how far the points are from their level, without sign.
        usual: 1 where the season may learn from a point, else 0.
        calm: 1 where the spread may learn from it, else 0.
    """

    surprises: Floats
    size: Floats
    usual: Floats
    calm: Floats


def look(rows: Rows, left: Floats, known: Floats, spread: Floats, days: Floats) -> Shifts:
    """Take the newest points into the sums.

    Args:
        rows: the series.
        left: what the season leaves of the newest values.
        known: 1 where there is a season, else 0.
        spread: mean deviation of this hour.
        days: age of the series.
    """
    _begin(rows, left)
    deviation = _deviation(rows, spread)
    away = left - rows.level
    size = np.abs(away)
    away /= deviation
    away *= known
    np.minimum(away, _FARTHEST, out=away)
    np.maximum(away, -_FARTHEST, out=away)
    above = _sum_up(rows.sums, away)
    on_a_side = np.maximum(above[:SIDE], above[SIDE:])
    rows.away += _ONE
    rows.away *= on_a_side
    is_away = on_a_side[STEP]
    calm = (rows.away[STEP] <= _CHANCE).astype(np.float64)
    calm *= known
    listened = _listened(rows, days)
    surprises = _surprises(rows, above, listened)
    _learn_sizes(rows, above, calm)
    clipped = np.minimum(away, _CLIP, out=away)
    np.maximum(clipped, -_CLIP, out=clipped)
    follow_slope(rows.products, clipped, rows.before, _PRODUCT_RATE * calm)
    rows.before[:] = clipped
    clipped *= deviation
    _follow(rows, left, clipped, known, is_away)
    is_away *= listened
    return Shifts(surprises, size, _ONE - is_away, calm)


def _begin(rows: Rows, left: Floats) -> None:
    """Let the first point of a level be all of it."""
    if np.count_nonzero(rows.points) < len(left):
        np.copyto(rows.level, left, where=rows.points == _NOTHING)


def _deviation(rows: Rows, spread: Floats) -> Floats:
    """The standard deviations to measure in."""
    found: Floats = np.maximum(spread, _LEAST * rows.deviation[VALUES])
    np.maximum(found, TINY, out=found)
    found *= DEVIATION
    return found


def _sum_up(sums: Floats, away: Floats) -> Floats:
    """Bring the sums up to date; 1 where one is above 0, else 0."""
    sums[:SIDE] += away
    sums[SIDE:] -= away
    sums -= BOUNDS
    np.maximum(sums, _NOTHING, out=sums)
    np.minimum(sums, _LARGEST, out=sums)
    return (sums > _NOTHING).astype(np.float64)


def _listened(rows: Rows, days: Floats) -> Bools:
    found: Bools = rows.points >= _POINTS
    found &= days >= _DAYS
    found &= rows.products[0] <= _CORRELATED * rows.products[1]
    return found


def _surprises(rows: Rows, above: Floats, listened: Bools) -> Floats:
    found: Floats = rows.sums / rows.sizes
    found *= _LOG_E
    found -= _SHARES
    found *= above
    found *= _PART
    np.minimum(found, _MOST, out=found)
    found *= listened
    return found


def _learn_sizes(rows: Rows, above: Floats, calm: Floats) -> None:
    gain = np.minimum(rows.sums, _SIZE_CAP * rows.sizes)
    gain -= rows.sizes
    gain *= above
    gain *= _SIZE_RATE * calm
    rows.sizes += gain


def _follow(rows: Rows, left: Floats, move: Floats, known: Floats, is_away: Floats) -> None:
    """Move the levels, or begin new ones where the series stays away."""
    rate = _GAIN * (_ONE - is_away)
    young = rows.points < _YOUNG
    if np.count_nonzero(young):
        np.copyto(move, left - rows.level, where=young)
        np.copyto(rate, np.maximum(_GAIN, _ONE / (rows.points + _ONE)), where=young)
    rate *= known
    rate *= move
    rows.level += rate
    rows.points += known
    late = rows.away[STEP] > _PATIENCE
    if np.count_nonzero(late):
        rows.points[late] = 0
        rows.away[:, late] = 0
        rows.sums[:, late] = 0
