"""What is usual for this time of the day and of the week.

A day is cut into equal parts with one value each. What the days of the week have of their own is
kept beside it by the hour, and taken in a straight line from the middle of one hour to the next.
So is the spread by the hour of the day, as many series are noisier when there is little traffic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nilo_stream_processors.engine.anomaly.fixed import fixed
from nilo_stream_processors.engine.anomaly.views import RESTS, SETTLED
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints

if TYPE_CHECKING:
    from nilo_stream_processors.engine.anomaly.state import Rows

Profiles = np.ndarray[Any, np.dtype[np.float32]]
# The end of the week, and of the day, is a place of its own: no hour has its next one elsewhere.
PARTS_OF_DAY, HOURS, SPREADS = 48, 169, 25
_SPREAD = PARTS_OF_DAY + HOURS
PLACES = _SPREAD + SPREADS
_HOUR = 3_600_000_000
HOUR, DAY, WEEK = fixed(_HOUR), fixed(24 * _HOUR), fixed(168 * _HOUR)
_MINUTE = fixed(_HOUR // 60)
# So many days a series has no season; what days of the week have of their own is learned later.
_KNOWN_AFTER = 2
# Weights of a new day and of a new week, once there have been many, and of a new day's spread.
_DAY_RATE, _WEEK_RATE, _SPREAD_RATE = 0.1, 0.2, fixed(0.1)
# A point moves the season by so much of the time it stands for, at most half the way.
_GAIN, _MOST = fixed(2.0), fixed(0.5)
_SPREAD_GAIN = fixed(1.5)
_PARTS_OF_HOUR = PARTS_OF_DAY / 24
_PER_PART, _DAILY = fixed(_PARTS_OF_HOUR), fixed(_PARTS_OF_HOUR * _DAY_RATE)
_WEEKLY, _FIRST_WEEK, _DAYS = fixed(_WEEK_RATE), fixed(7.0 - _KNOWN_AFTER), fixed(7.0)
_KNOWN, _ROW = fixed(_KNOWN_AFTER), fixed(PLACES)
_NOTHING, _HALF, _ONE = fixed(0.0), fixed(0.5), fixed(1.0)


def _week() -> tuple[Ints, Floats]:
    """For each minute of the week, the part of the day, two hours of the week and two of the day.

    Returns:
        Where they are kept, and by which shares they count.
    """
    minutes = np.arange(7 * 24 * 60)
    part = minutes % (24 * 60) // (24 * 60 // PARTS_OF_DAY)
    # The middle of the first hour is its place: before it the week's last one counts.
    whole, rest = np.divmod((minutes - 30) % len(minutes), 60)
    of_week, of_day = PARTS_OF_DAY + whole, _SPREAD + whole % 24
    places = np.stack([part, of_week, of_week + 1, of_day, of_day + 1])
    first, second = 1 - rest / 60, rest / 60
    return places, np.stack([np.ones(len(minutes)), first, second, first, second])


_PLACES, _SHARES = _week()


@dataclass
class Season:
    """The season of some series at one time each.

    Attributes:
        usual: what it says; not a number where this part of the day was never seen.
        weekly: the part of it that the day of the week has of its own.
        spread: mean deviation of the rests at this hour of the day.
        new: whether this part of the day was never seen.
        known: 1 where it is to be relied on, else 0.
        days: age of the series.
        places: where in the seasons of all series it is kept.
        held, shares: what is kept there, and by which shares it makes up what is usual.
    """

    usual: Floats
    weekly: Floats
    spread: Floats
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
    _fill(held[3:], rows.deviation[RESTS], rows.seen[RESTS] > SETTLED)
    day, this, following, *spreads = held * shares
    weekly = this + following
    usual = day + weekly
    days = (times - rows.first) / DAY
    known = (days >= _KNOWN).astype(np.float64)
    new = np.isnan(usual)
    np.copyto(known, 0, where=new)
    return Season(usual, weekly, spreads[0] + spreads[1], new, known, days, places, held, shares)


def _fill(spreads: Floats, usual: Floats, settled: Bools) -> None:
    """Take the usual deviation, once it is one, for hours that have none of their own yet."""
    if np.count_nonzero(spreads) < spreads.size:
        np.copyto(spreads, usual, where=(spreads == _NOTHING) & settled)


def learn(
    seasons: Profiles,
    at: Season,
    values: Floats,
    size: Floats,
    span: Floats,
    *,
    usual: Floats,
    calm: Floats,
    limit: Floats,
) -> None:
    """Take in the values.

    Args:
        seasons: those of all series.
        at: what was looked up for these values.
        values: the new points.
        size: how far they are from where they were expected, without sign.
        span: the share of an hour that each stands for.
        usual, calm: 1 where the season, and the spread, may learn from a point, else 0.
        limit: the largest rests that count in full; of sizes half of it.
    """
    moves = np.empty(at.held.shape)
    rest = np.minimum(values - at.usual, limit, out=moves[0])
    np.maximum(rest, -limit, out=rest)
    moves[1:3] = rest
    np.subtract(np.minimum(size, _HALF * limit), at.held[3:], out=moves[3:])
    moves *= _weights(at, span * usual, span * calm)
    moves *= at.shares
    moves += at.held
    if np.count_nonzero(at.new):
        moves[0, at.new] = (values - at.weekly)[at.new]
        moves[1:3, at.new] = at.held[1:3, at.new]
    seasons.reshape(-1)[at.places] = moves


def _weights(at: Season, span: Floats, calm_span: Floats) -> Floats:
    """The weight of a point for the part of the day, the hours of the week and the spreads."""
    weights = np.empty(at.held.shape)
    young = _ONE / (at.days + _ONE)
    np.maximum(_DAILY, _PER_PART * young, out=weights[0])
    # The first week begins when the days are known: before it there is nothing to learn of it.
    week = np.maximum(_WEEKLY, _DAYS / (at.days + _FIRST_WEEK))
    week *= at.known
    weights[1:3] = week
    weights[:3] *= _GAIN * span
    weights[3:] = np.maximum(_SPREAD_RATE, young) * calm_span
    weights[3:] *= _SPREAD_GAIN * (at.spread > _NOTHING)
    np.minimum(weights, _MOST, out=weights)
    return weights
