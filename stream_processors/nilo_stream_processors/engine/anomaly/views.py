"""The views of a series: what is new against what was before, over several spans.

Three things are followed by moving means: the values, what the season leaves of them ("rests"), and
the steps from value to value. A view compares a shorter mean now with a longer one before. These
four were chosen out of sixteen: the others found nothing more on the data that they were chosen on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nilo_stream_processors.engine.anomaly.fixed import fixed
from nilo_stream_processors.engine.arrays import Floats

if TYPE_CHECKING:
    from nilo_stream_processors.engine.anomaly.state import Rows

VALUES, RESTS, STEPS = range(3)
# Points of the moving means of each. The usual level is one that single points cannot carry off.
POINTS = (96.0, 2.0, 12.0, 64.0, 500.0)
USUAL, BRIEF, SHORT, MIDDLE, LONG = range(len(POINTS))
LEVELS = len(POINTS)

# The last two values; a middle span of them; the newest rests; roughness.
PAIR, SLOW, NEW, ROUGH = range(4)
VIEWS = 4
# What each view is taken of. There are steps wherever there are values.
BASES = np.array([VALUES, VALUES, RESTS, VALUES])

# Points before a mean of sizes is to be relied on.
SETTLED = fixed(20.0)
# Nothing is divided by zero, nor does a quotient overflow.
TINY = fixed(1e-200)
# A part of the usual step that is nothing in itself.
_LEAST = fixed(1e-3)
# A point moves the usual level as if it were at most so many mean deviations away from it.
_CLIP = fixed(3.0)
# Weight of a new distance from the usual level, once there have been many.
_DEVIATION_RATE = 0.01
# Arrays of one shape are computed on much faster than those that must be stretched to each other.
# So all means of values, rests and steps, and the two mean distances, are moved by one operation.
_THINGS = 5
_THING = np.repeat(np.arange(_THINGS), [LEVELS, LEVELS, LEVELS, 1, 1])
_COUNTED = np.array([VALUES, RESTS, VALUES, VALUES, RESTS])[_THING]
_RATES = np.append(np.tile(1 / np.array(POINTS), 3), [_DEVIATION_RATE] * 2)[:, None]


def look(
    rows: Rows, points: Floats, seen: Floats, weight: Floats, limit: Floats
) -> tuple[Floats, Floats]:
    """All views of the newest points, which are taken into the moving means.

    Args:
        rows: the series.
        points: values and rests, by series.
        seen: 1 for those that there are, else 0: without a season nothing is left to look at.
        weight: one over how many of each there were, this one included.
        limit: the largest distances from the usual level that count in full.

    Returns:
        The views, by view and series; how far the points are from their usual level. What is
        unseen means nothing.
    """
    _begin(rows, points, seen)
    before, past = rows.levels.copy(), rows.past[VALUES] - rows.levels[VALUES, USUAL]
    away = _move(rows, points, seen, weight, limit)
    found = np.empty((VIEWS, points.shape[1]))
    np.add(away[VALUES], past, out=found[PAIR])
    _compare(rows.levels, before, found)
    np.copyto(rows.past, points, where=seen > 0)
    return found, away


def limits(rows: Rows) -> Floats:
    """The largest distances from the usual level that count in full, of values and rests."""
    limit: Floats = _CLIP * rows.deviation
    np.copyto(limit, np.inf, where=rows.seen <= SETTLED)
    return limit


def _begin(rows: Rows, points: Floats, seen: Floats) -> None:
    """Let the first point of a series, and its first rest, be all means of it."""
    if np.count_nonzero(rows.seen) < rows.seen.size:
        fresh = seen > rows.seen
        np.copyto(rows.levels[:2], points[:, None], where=fresh[:, None])
        np.copyto(rows.past, points, where=fresh)


def _move(rows: Rows, points: Floats, seen: Floats, weight: Floats, limit: Floats) -> Floats:
    """Move the means towards the points; returns how far these were from the usual level."""
    things = np.empty((_THINGS, points.shape[1]))
    things[:STEPS] = points
    np.subtract(points[VALUES], rows.past[VALUES], out=things[STEPS])
    away = np.subtract(points, rows.levels[:2, USUAL])
    things[STEPS + 1 :] = away
    sizes = np.abs(things[STEPS:], out=things[STEPS:])
    error = things.take(_THING, axis=0)
    error -= rows.means
    error[USUAL], error[LEVELS + USUAL] = np.copysign(np.minimum(sizes[1:], limit), away)
    rate = np.maximum(_RATES, weight.take(_COUNTED, axis=0))
    rate *= seen.take(_COUNTED, axis=0)
    error *= rate
    rows.means += error
    return away


def _compare(now: Floats, before: Floats, found: Floats) -> None:
    """The shorter means as they are now against the longer ones as they were before."""
    np.subtract(now[VALUES, MIDDLE], before[VALUES, LONG], out=found[SLOW])
    np.subtract(now[RESTS, BRIEF], before[RESTS, SHORT], out=found[NEW])
    least = before[STEPS, LONG] * _LEAST + TINY
    ratio = (now[STEPS, SHORT] + least) / (before[STEPS, LONG] + least)
    np.log(ratio, out=found[ROUGH])
