"""What is usual for this time of the day and of the week.

A day is cut into equal parts with one value each. What the days of the week have of their own is
kept beside it by the hour, and taken in a straight line from the middle of one hour to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nilo_stream_processors.engine.arrays import Bools, Floats, Ints

if TYPE_CHECKING:
    from nilo_stream_processors.engine.anomaly.state import Rows

Profiles = np.ndarray[Any, np.dtype[np.float32]]
PARTS_OF_DAY, HOURS = 48, 168
SECOND = 1_000_000
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
WEEK = 7 * DAY
_PART = DAY // PARTS_OF_DAY
_SHIFT = HOUR // 2
# Before so much time a series has no season; the days of the week are learned after it.
_KNOWN_AFTER = 3 * DAY
# Weights of a new day and of a new week, once there have been many.
_DAY_RATE, _WEEK_RATE = 0.05, 0.3
# A point moves the season by so much of the time it stands for, at most half the way.
_GAIN, _MOST = 1.5, 0.5
# A rest counts as so many usual ones at most.
_CLIP = 20.0
_ERROR_RATE = 0.003


@dataclass
class Season:
    """The season of some series at one time each.

    Attributes:
        usual: what it says; not a number where this part of the day was never seen.
        weekly: the part of it that the day of the week has of its own.
        known: whether it is to be relied on.
        age: microseconds since the first point.
        slots, places, shares: where it is kept, and by which shares it is made up.
    """

    usual: Floats
    weekly: Floats
    known: Bools
    age: Floats
    slots: Ints
    places: Ints
    shares: Floats


def season(rows: Rows, seasons: Profiles, slots: Ints, times: Ints) -> Season:
    """Look up what is usual at these times."""
    hours = (times - _SHIFT) % WEEK / HOUR
    whole = hours.astype(np.int64)
    places = np.empty((3, len(slots)), np.int64)
    places[0] = times % DAY // _PART
    np.add(whole, PARTS_OF_DAY, out=places[1])
    np.add((whole + 1) % HOURS, PARTS_OF_DAY, out=places[2])
    shares = np.ones((3, len(slots)))
    np.subtract(hours, whole, out=shares[2])
    shares[1] -= shares[2]
    day, this, following = seasons[slots, places] * shares
    weekly = this + following
    usual = day + weekly
    age = times - rows.first
    known = (age >= _KNOWN_AFTER) & (usual == usual)
    return Season(usual, weekly, known, age, slots, places, shares)


def learn(rows: Rows, seasons: Profiles, at: Season, values: Floats, span: Floats) -> None:
    """Take in the values.

    Args:
        rows: the series.
        seasons: those of all series.
        at: what was looked up for these values.
        values: the new points.
        span: the share of an hour that each stands for.
    """
    rest = values - at.usual
    new = np.isnan(rest)
    if np.count_nonzero(new):
        seasons[at.slots[new], at.places[0, new]] = (values - at.weekly)[new]
        rest[new] = 0
    size = np.abs(rest)
    np.minimum(size, _CLIP * rows.error, out=size, where=at.age >= _KNOWN_AFTER)
    rate = np.maximum(_ERROR_RATE, 1 / (rows.seen[0] + 1))
    rate *= ~new
    rows.error += rate * (size - rows.error)
    moves = _moves(at.age, span)
    moves *= at.shares
    moves *= np.copysign(size, rest)
    seasons[at.slots, at.places] += moves


def _moves(age: Floats, span: Floats) -> Floats:
    """The weight of a point for the part of the day and the two hours of the week."""
    moves = np.empty((3, len(age)))
    weeks = np.floor((age - _KNOWN_AFTER) / WEEK) + 1
    np.maximum(_DAY_RATE, 1 / (np.floor(age / DAY) + 1), out=moves[0])
    moves[0] *= PARTS_OF_DAY / 24
    np.maximum(_WEEK_RATE, 1 / np.maximum(weeks, 1), out=moves[1])
    moves[1] *= weeks > 0
    moves[2] = moves[1]
    moves *= _GAIN * span
    return np.minimum(moves, _MOST, out=moves)
