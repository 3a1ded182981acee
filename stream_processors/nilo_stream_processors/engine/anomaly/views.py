"""The views of a series: what is new against what was before, over several spans.

Three things are followed by moving means: the values, what the season leaves of them ("rests"), and
the steps from value to value. A view compares a shorter mean now with a longer one before. These five
were chosen out of sixteen: the others found nothing more on the data that they were chosen on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nilo_stream_processors.engine.arrays import Bools, Floats

if TYPE_CHECKING:
    from nilo_stream_processors.engine.anomaly.state import Rows

VALUES, RESTS, STEPS = range(3)
# Points of the moving means. The usual level is one that single points cannot carry off.
POINTS = (64.0, 2.0, 12.0, 96.0, 384.0)
USUAL, BRIEF, SHORT, MIDDLE, LONG = range(len(POINTS))
LEVELS = len(POINTS)

# The last two values; a middle span of them; the newest rests; a short span of rests; roughness.
PAIR, SLOW, NEW, GRADUAL, ROUGH = range(5)
VIEWS = 5
# What each view is taken of. There are steps wherever there are values.
BASES = np.array([VALUES, VALUES, RESTS, RESTS, VALUES])

# Points before a mean of sizes is to be relied on.
SETTLED = 20
# A point moves the usual level as if it were at most so many mean deviations away from it.
_CLIP = 6.0
_DEVIATION_RATE = 0.003
_RATES = 1 / np.array(POINTS)[:, None]


def look(rows: Rows, points: Floats, seen: Bools, weight: Floats) -> Floats:
    """All views of the newest points, which are taken into the moving means.

    Args:
        rows: the series.
        points: values and rests, by series.
        seen: which of these there are: without a season nothing is left to look at.
        weight: one over how many of each there were, this one included.

    Returns:
        By view and series; what is unseen means nothing.
    """
    _begin(rows, points, seen)
    away = points - rows.levels[:2, USUAL]
    found = np.empty((VIEWS, points.shape[1]))
    np.add(away[VALUES], rows.past[VALUES] - rows.levels[VALUES, USUAL], out=found[PAIR])
    before = _move(rows, points, seen, weight, away)
    _compare(rows.levels, before, found)
    np.copyto(rows.past, points, where=seen)
    return found


def _begin(rows: Rows, points: Floats, seen: Bools) -> None:
    """Let the first point of a series, and its first rest, be all means of it."""
    fresh = seen > rows.seen
    if np.count_nonzero(fresh):
        np.copyto(rows.levels[:2], points[:, None], where=fresh[:, None])
        np.copyto(rows.past, points, where=fresh)


def _move(rows: Rows, points: Floats, seen: Bools, weight: Floats, away: Floats) -> Floats:
    """Move the means towards the points; returns what they were before."""
    error = np.empty_like(rows.levels)
    np.subtract(points[:, None], rows.levels[:2], out=error[:2])
    np.subtract(np.abs(points[VALUES] - rows.past[VALUES]), rows.levels[STEPS], out=error[STEPS])
    size = np.abs(away)
    limit = _CLIP * rows.deviation
    np.copyto(limit, np.inf, where=rows.seen <= SETTLED)
    np.copysign(np.minimum(size, limit), away, out=error[:2, USUAL])
    rate = np.empty_like(error)
    np.maximum(_RATES, weight[:, None], out=rate[:2])
    rate[STEPS] = rate[VALUES]
    rate[RESTS] *= seen[RESTS]
    error *= rate
    before = rows.levels.copy()
    rows.levels += error
    gain = np.maximum(weight, _DEVIATION_RATE)
    gain *= seen
    gain *= size - rows.deviation
    rows.deviation += gain
    return before


def _compare(now: Floats, before: Floats, found: Floats) -> None:
    """The shorter means as they are now against the longer ones as they were before."""
    np.subtract(now[VALUES, MIDDLE], before[VALUES, LONG], out=found[SLOW])
    np.subtract(now[RESTS, BRIEF], before[RESTS, SHORT], out=found[NEW])
    np.subtract(now[RESTS, SHORT], before[RESTS, MIDDLE], out=found[GRADUAL])
    least = before[STEPS, LONG] * 1e-3 + 1e-300
    ratio = (now[STEPS, SHORT] + least) / (before[STEPS, LONG] + least)
    np.log(ratio, out=found[ROUGH])
