"""Which shape an anomaly has: from the view that is surprised most, and the newest two points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nilo_stream_processors.engine.anomaly.shapes import Shape
from nilo_stream_processors.engine.anomaly.views import BASES, SLOW, STEADY, VIEWS
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints

if TYPE_CHECKING:
    from nilo_stream_processors.engine.anomaly.state import Rows

# The value is ordinary when its views have at most so much of the surprise of the season's.
_ORDINARY = 0.5
# The level has shifted when the last point was at least so far away as this one.
_LASTING = 0.5


def kinds(rows: Rows, surprises: Floats, surprising: Bools) -> Ints:
    """Codes of `Shape` by series; NONE where nothing is surprising.

    Args:
        rows: the series, with the newest point taken in.
        surprises: by side, view and series.
        surprising: the series of interest.
    """
    found = np.zeros(len(surprising), np.int64)
    for column in np.flatnonzero(surprising).tolist():
        found[column] = _kind(rows, surprises[:, :, column], column)
    return found


def _kind(rows: Rows, surprises: Floats, column: int) -> Shape:
    side, view = divmod(int(surprises.argmax()), VIEWS)
    if view in STEADY:
        return Shape.CHANGED_VARIANCE
    base = int(BASES[view])
    if base and surprises[:, BASES == 0].max() < _ORDINARY * surprises[side, view]:
        return Shape.OUT_OF_SEASON
    if view in SLOW:
        return Shape.DRIFT
    before, now = rows.past[base, :, column] - rows.levels[base, 0, column]
    if before * now > 0 and abs(before) >= _LASTING * abs(now):
        return Shape.LEVEL_SHIFT
    return Shape.DIP if side else Shape.SPIKE
