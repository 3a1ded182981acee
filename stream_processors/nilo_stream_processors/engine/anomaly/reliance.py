"""How far the season is to be relied on: as far as what it says has come true.

Of values that have no season the learned one is chance, and taking it off would add to the noise.
So the share of the season's swings that is found again in the values is followed: the slope of a
regression of the values on the season, both from their slow means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nilo_stream_processors.engine.anomaly.fixed import fixed
from nilo_stream_processors.engine.anomaly.slopes import follow_slope
from nilo_stream_processors.engine.anomaly.views import LONG, RESTS, TINY, VALUES
from nilo_stream_processors.engine.arrays import Floats

if TYPE_CHECKING:
    from nilo_stream_processors.engine.anomaly.state import Rows

# Weight of a new point, once there have been many; the first ones have that of a hundredth.
_RATE, _FIRST = fixed(1 / 2000), fixed(0.01)
_NOTHING, _ONE = fixed(0.0), fixed(1.0)


def deseasoned(rows: Rows, points: Floats, known: Floats, weight: Floats, limit: Floats) -> Floats:
    """What is left of the values when as much of the season is taken off as has come true.

    Args:
        rows: the series; how far each season is relied on is brought up to date.
        points: values and rests, by series.
        known: 1 where there is a season, else 0.
        weight: one over how many rests there were, this one included.
        limit: the largest rests that count in full.
    """
    rest = points[RESTS]
    swing = points[VALUES] - rest
    swing -= rows.levels[VALUES, LONG]
    swing += rows.levels[RESTS, LONG]
    swing *= known
    share = np.minimum(rows.agreed[0] / np.maximum(rows.agreed[1], TINY), _ONE)
    np.maximum(share, _NOTHING, out=share)
    left: Floats = _ONE - share
    left *= swing
    left += rest
    moved = rest - rows.levels[RESTS, LONG]
    np.minimum(moved, limit, out=moved)
    np.maximum(moved, -limit, out=moved)
    moved += swing
    rate = known * np.maximum(np.minimum(weight, _FIRST), _RATE)
    follow_slope(rows.agreed, swing, moved, rate)
    return left
