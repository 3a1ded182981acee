"""Which shape an anomaly has: from the view that is surprised most, and the newest two points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nilo_stream_processors.engine.anomaly.shapes import Shape
from nilo_stream_processors.engine.anomaly.shifts import CREEP, SIDE
from nilo_stream_processors.engine.anomaly.views import (
    BASES,
    PAIR,
    RESTS,
    ROUGH,
    SLOW,
    USUAL,
    VIEWS,
)
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints

if TYPE_CHECKING:
    from nilo_stream_processors.engine.anomaly.state import Rows

# The value is ordinary when its views have at most so much of the surprise of the season's.
_ORDINARY = 0.5
_OF_VALUES = [PAIR, SLOW, VIEWS + PAIR, VIEWS + SLOW]
# The level has shifted when the last point was at least so far away as this one.
_LASTING = 0.5
# What has been on its way for so many points is a drift.
_SLOW = 8


def kinds(
    rows: Rows, newest: tuple[Floats, Floats], surprises: Floats, shifted: Floats, surprising: Bools
) -> Ints:
    """Codes of `Shape` by series; NONE where nothing is surprising.

    Args:
        rows: the series, with the newest points taken in.
        newest: the values and rests before the newest, and the newest ones.
        surprises: by view and series, those above first, then those below.
        shifted: those of the sums for small shifts.
        surprising: the series of interest.
    """
    found = np.zeros(len(surprising), np.int64)
    if not np.count_nonzero(surprising):
        return found
    for column in np.flatnonzero(surprising).tolist():
        away = np.array(newest)[:, :, column] - rows.levels[:2, USUAL, column]
        sums, views = shifted[:, column], surprises[:, column]
        if sums.max() > views.max():
            found[column] = _shift(int(sums.argmax()), rows.away[:, column])
        else:
            found[column] = _kind(views, away)
    return found


def _kind(surprises: Floats, away: Floats) -> Shape:
    """The shape of one anomaly; `away` has the last two values and rests, from the usual level."""
    side, view = divmod(int(surprises.argmax()), VIEWS)
    if view == ROUGH:
        return Shape.CHANGED_VARIANCE
    base = int(BASES[view])
    if base == RESTS and surprises[_OF_VALUES].max() < _ORDINARY * surprises.max():
        return Shape.OUT_OF_SEASON
    if view == SLOW:
        return Shape.DRIFT
    before, now = away[:, base]
    if before * now > 0 and abs(before) >= _LASTING * abs(now):
        return Shape.LEVEL_SHIFT
    return Shape.DIP if side else Shape.SPIKE


def _shift(place: int, lasting: Floats) -> Shape:
    """The shape of what a sum has found; `lasting` has for how many points each kind has been."""
    side, kind = divmod(place, SIDE)
    if kind == CREEP and lasting[kind] >= _SLOW:
        return Shape.DRIFT
    if lasting[kind] > 1:
        return Shape.LEVEL_SHIFT
    return Shape.DIP if side else Shape.SPIKE
