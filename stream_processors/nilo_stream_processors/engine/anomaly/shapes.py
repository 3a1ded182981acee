"""What kind an anomaly is, and the words for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import IntEnum


class Shape(IntEnum):
    """Kinds of anomalies."""

    NONE = 0
    SPIKE = 1
    DIP = 2
    LEVEL_SHIFT = 3
    DRIFT = 4
    OUT_OF_SEASON = 5
    CHANGED_VARIANCE = 6


_PHRASES = {
    Shape.NONE: "as usual",
    Shape.SPIKE: "spike",
    Shape.DIP: "dip",
    Shape.LEVEL_SHIFT: "level shift",
    Shape.DRIFT: "slow drift",
    Shape.CHANGED_VARIANCE: "steadier or rougher than usual",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def phrase(shape: Shape, time: int) -> str:
    """A shape in words, for the text of an alert.

    Args:
        shape: what `Judged.shape` says.
        time: start of the window, in microseconds since the epoch.
    """
    if shape is Shape.OUT_OF_SEASON:
        at = _EPOCH + timedelta(microseconds=time)
        return f"unusual for {at:%A %H:%M} UTC"
    return _PHRASES[shape]
