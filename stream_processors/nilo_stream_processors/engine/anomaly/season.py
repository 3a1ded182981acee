"""What is usual for this time of the day and of the week.

A day is cut into equal parts with one value each. What the days of the week have of their own is
kept beside it by the hour, and taken in a straight line from the middle of one hour to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nilo_stream_processors.engine.anomaly.fixed import fixed
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints

if TYPE_CHECKING:
    from nilo_stream_processors.engine.anomaly.state import Rows

Profiles = np.ndarray[Any, np.dtype[np.float32]]
# The end of the week is a place of its own, so that no hour has its next one elsewhere.
PARTS_OF_DAY, HOURS = 48, 169
_WIDTH = PARTS_OF_DAY + HOURS
_HOUR = 3_600_000_000
HOUR, DAY, WEEK = fixed(_HOUR), fixed(24 * _HOUR), fixed(168 * _HOUR)
_MINUTE = fixed(_HOUR // 60)
# So many days a series has no season; what days of the week have of their own is learned later.
_KNOWN_AFTER = 2
# Weights of a new day and of a new week, once there have been many.
_DAY_RATE, _WEEK_RATE = 0.2, 0.3
# A point moves the season by so much of the time it stands for, at most half the way.
_GAIN, _MOST = fixed(2.0), fixed(0.5)
_PARTS_OF_HOUR = PARTS_OF_DAY / 24
_PER_PART, _DAILY = fixed(_PARTS_OF_HOUR), fixed(_PARTS_OF_HOUR * _DAY_RATE)
_WEEKLY, _FIRST_WEEK, _DAYS = fixed(_WEEK_RATE), fixed(7.0 - _KNOWN_AFTER), fixed(7.0)
_KNOWN, _ONE, _ROW = fixed(_KNOWN_AFTER), fixed(1.0), fixed(_WIDTH)


def _week() -> tuple[Ints, Floats]:
    """For each minute of the week, the part of the day and two hours, and their shares."""
    minutes = np.arange(7 * 24 * 60)
    part = minutes % (24 * 60) // (24 * 60 // PARTS_OF_DAY)
    # The middle of the first hour is its place: before it the week's last one counts.
    whole, rest = np.divmod((minutes - 30) % len(minutes), 60)
    places = np.stack([part, PARTS_OF_DAY + whole, PARTS_OF_DAY + whole + 1])
    return places, np.stack([np.ones(len(minutes)), 1 - rest / 60, rest / 60])


_PLACES, _SHARES = _week()


@dataclass
class Season:
    """The season of some series at one time each.

    Attributes:
        usual: what it says; not a number where this part of the day was never seen.
        weekly: the part of it that the day of the week has of its own.
        new: whether this part of the day was never seen.
        known: 1 where it is to be relied on, else 0.
        days: age of the series.
        places: where in the seasons of all series it is kept.
        held, shares: what is kept there, and by which shares it makes up what is usual.
    """

    usual: Floats
    weekly: Floats
    new: Bools
    known: Floats
    days: Floats
    places: Ints
    held: Floats
    shares: Floats


def season(rows: Rows, seasons: Profiles, slots: Ints, times: Ints) -> Season:
    """Look up what is usual at these times."""
    minutes = times % WEEK // _MINUTE
    places = _PLACES.take(minutes, axis=1)
    places += slots * _ROW
    shares = _SHARES.take(minutes, axis=1)
    held = seasons.reshape(-1).take(places).astype(np.float64)
    day, this, following = held * shares
    weekly = this + following
    usual = day + weekly
    days = (times - rows.first) / DAY
    known = (days >= _KNOWN).astype(np.float64)
    new = np.isnan(usual)
    np.copyto(known, 0, where=new)
    return Season(usual, weekly, new, known, days, places, held, shares)


def learn(seasons: Profiles, at: Season, values: Floats, span: Floats, limit: Floats) -> None:
    """Take in the values.

    Args:
        seasons: those of all series.
        at: what was looked up for these values.
        values: the new points.
        span: the share of an hour that each stands for.
        limit: the largest rests that count in full.
    """
    rest = values - at.usual
    np.minimum(rest, limit, out=rest)
    np.maximum(rest, -limit, out=rest)
    moves = _weights(at, span)
    moves *= at.shares
    moves *= rest
    moves += at.held
    if np.count_nonzero(at.new):
        moves[0, at.new] = (values - at.weekly)[at.new]
        moves[1:, at.new] = at.held[1:, at.new]
    seasons.reshape(-1)[at.places] = moves


def _weights(at: Season, span: Floats) -> Floats:
    """The weight of a point for the part of the day and for the two hours of the week."""
    weights = np.empty((3, len(span)))
    np.maximum(_DAILY, _PER_PART / (at.days + _ONE), out=weights[0])
    # The first week begins when the days are known: before it there is nothing to learn of it.
    week = np.maximum(_WEEKLY, _DAYS / (at.days + _FIRST_WEEK))
    week *= at.known
    weights[1:] = week
    weights *= _GAIN * span
    np.minimum(weights, _MOST, out=weights)
    return weights
