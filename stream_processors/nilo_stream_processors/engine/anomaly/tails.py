"""How surprising a view is, by what the series itself has shown: peaks over a moving threshold.

A view is measured in its own usual size. Of each side the size that one point in twenty exceeds is
followed (stochastic approximation of a quantile), and by how much it is exceeded in the mean.
Beyond it the excess is taken to be exponentially distributed, the simplest distribution that
excesses have (Pickands 1975): this gives a probability to sizes that were never seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nilo_stream_processors.engine.anomaly.fixed import fixed
from nilo_stream_processors.engine.anomaly.views import SETTLED, SLOW, TINY, VIEWS
from nilo_stream_processors.engine.arrays import Floats

if TYPE_CHECKING:
    from nilo_stream_processors.engine.anomaly.state import Rows

# The share of points above the floor, and how quickly the floor moves, in usual sizes a point.
_SHARE, _FLOOR_RATE = fixed(0.05), fixed(0.016)
# Weight of a new excess and of a new size, once there have been many.
_EXCESS_RATE, _SCALE_RATE = fixed(0.02), fixed(0.001)
# Larger ones count as so many mean excesses, as so many usual sizes: one event is not the rule.
_EXCESS_CAP, _SCALE_CAP = fixed(3.0), fixed(6.0)
# Sizes are bent by this power, so that tails from Gaussian to lognormal are near exponential ones.
_POWER = fixed(0.8)
# A mean excess never counts as less; what it is taken to be at first.
_EXCESS_LEAST, FIRST_EXCESS = fixed(0.08), 0.4


def surprise(rows: Rows, views: Floats, seen: Floats, weight: Floats) -> Floats:
    """Minus the decimal logarithm of the probability of such a view; learns from it as well.

    Args:
        rows: the series.
        views: the newest views, by view and series.
        seen: 1 for those that there are, else 0.
        weight: one over how many of each there were, this one included.

    Returns:
        By view and series, those above first, then those below; 0 for sizes that are usual.
    """
    size = np.abs(views)
    settled = rows.scale > _NOTHING
    settled &= weight < _SETTLED
    known = settled.astype(np.float64)
    known *= seen
    # Without a scale a view is not settled, and what comes out is not used.
    bent = (size / np.maximum(rows.scale, TINY) + _ONE) ** _POWER
    bent -= _ONE
    found = _exceeding(rows, np.copysign(bent, views), weight, known)
    limit = _SCALE_CAP * rows.scale
    np.copyto(limit, np.inf, where=~settled)
    rate = np.maximum(weight, _SCALE_RATE)
    rate *= seen
    rate *= np.minimum(size, limit) - rows.scale
    rows.scale += rate
    return found


def _exceeding(rows: Rows, bent: Floats, weight: Floats, known: Floats) -> Floats:
    """The surprises; the floors and the mean excesses are brought up to date."""
    weight, known = weight.take(BOTH_SIDES, axis=0), known.take(BOTH_SIDES, axis=0)
    over = np.empty(rows.floor.shape)
    over[:VIEWS] = bent
    np.negative(bent, out=over[VIEWS:])
    over -= rows.floor
    above = (over > _NOTHING).astype(np.float64)
    above *= known
    excess = rows.excess + _EXCESS_LEAST
    found: Floats = over / excess
    found *= _LOG_E
    found -= _LOG_SHARE
    found *= above
    excess *= _EXCESS_CAP
    gain = np.minimum(over, excess, out=over)
    gain -= rows.excess
    gain *= np.maximum(weight / (weight + _SHARE), _EXCESS_RATE)
    gain[SLOW::VIEWS] *= _PACE
    gain *= above
    rows.excess += gain
    known *= _SHARE
    above -= known
    above *= np.maximum(weight, _FLOOR_RATE)
    rows.floor += above
    return found


# Arrays of one shape are computed on much faster than those that must be stretched to each other.
BOTH_SIDES = np.tile(np.arange(VIEWS), 2)
# A slow view says much the same for many points: each teaches so much of what a new one would.
_PACE = fixed(1 / 8)
_NOTHING, _ONE, _SETTLED = fixed(0.0), fixed(1.0), 1 / SETTLED
_LOG_E, _LOG_SHARE = np.log10(fixed(np.e)), np.log10(_SHARE)
