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
    part = times % DAY * PARTS_OF_DAY // DAY
    hours = (times - HOUR // 2) % WEEK / HOUR
    whole = hours.astype(np.int64)
    share = hours - whole
    places = np.stack([part, PARTS_OF_DAY + whole, PARTS_OF_DAY + (whole + 1) % HOURS])
    shares = np.stack([np.ones(len(slots)), 1 - share, share])
    day, *week = seasons[slots, places] * shares
    weekly = week[0] + week[1]
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
    if new.any():
        seasons[at.slots[new], at.places[0, new]] = (values - at.weekly)[new]
        rest[new] = 0
    aged = at.age >= _KNOWN_AFTER
    size = np.abs(rest)
    np.minimum(size, _CLIP * rows.error, out=size, where=aged)
    rows.error += np.maximum(_ERROR_RATE, 1 / (rows.seen[0] + 1)) * ~new * (size - rows.error)
    np.copysign(size, rest, out=rest)
    moves = _moves(at.age, span)
    seasons[at.slots, at.places] += moves * at.shares * rest


def _moves(age: Floats, span: Floats) -> Floats:
    """By how much a rest moves the part of the day and the two hours of the week."""
    gain = _GAIN * span
    day = gain * (PARTS_OF_DAY / 24) * np.maximum(_DAY_RATE, 1 / (age // DAY + 1))
    weeks = (age - _KNOWN_AFTER) // WEEK
    week = gain * np.maximum(_WEEK_RATE, 1 / np.maximum(weeks + 1, 1)) * (weeks >= 0)
    return np.minimum(np.stack([day, week, week]), _MOST)
