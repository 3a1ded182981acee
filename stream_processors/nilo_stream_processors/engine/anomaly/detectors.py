"""The detectors of many series: from each new point to a score, an expectation and a shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from nilo_schemas.errors import NiloError
from nilo_stream_processors.engine.anomaly import shifts
from nilo_stream_processors.engine.anomaly.fixed import fixed
from nilo_stream_processors.engine.anomaly.kinds import kinds
from nilo_stream_processors.engine.anomaly.reliance import deseasoned
from nilo_stream_processors.engine.anomaly.season import HOUR, Season, learn, season
from nilo_stream_processors.engine.anomaly.state import STORED, Rows, State
from nilo_stream_processors.engine.anomaly.tails import FIRST_EXCESS, surprise
from nilo_stream_processors.engine.anomaly.views import (
    BASES,
    LONG,
    POINTS,
    RESTS,
    SLOW,
    VALUES,
    VIEWS,
    limits,
    look,
)
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints

WARM_UP = 150
# A score is s / (s + _HALF) of a surprise s: 10 ** -_HALF is how improbable an anomaly is.
THRESHOLD = 0.5
_HALF = fixed(3.3)
# After an alarm so much of its surprise is taken off the next ones; it fades over so many points.
_COOLING, _FADING = fixed(1.5), fixed(np.exp(-1 / 45))
# No value counts as larger: its square must still be a number.
_LARGEST = fixed(1e36)
_BASES_OF_SIDES = np.tile(BASES, 2)
# A slow view is judged when its longer mean has been filled.
_FILLED = fixed(1 / POINTS[LONG])
_WARMING = np.full((2 * VIEWS, 1), 1 / WARM_UP)
_WARMING[[SLOW, VIEWS + SLOW]] = _FILLED
_NOTHING, _ONE, _TWICE, _WARMED_UP = fixed(0.0), fixed(1.0), fixed(2.0), fixed(1 / WARM_UP)


class ValueRefusedError(NiloError):
    """A value that is not a finite number."""


@dataclass(frozen=True)
class Judged:
    """What is said of one new point of each series.

    Attributes:
        score: from 0 to 1, an anomaly from `THRESHOLD` on; 0 while not ready. It is lowered for a
            time after an alarm.
        ready: whether the series has been seen enough to be judged.
        seen: points seen so far, this one included.
        expected: what was expected of this point.
        spread: how far points usually lie from it, one standard deviation, in units of the values.
        shape: codes of `Shape`.
    """

    score: Floats
    ready: Bools
    seen: Ints
    expected: Floats
    spread: Floats
    shape: Ints


class Detectors:
    """One detector for each slot; what a slot holds takes the same memory for ever."""

    def __init__(self, step: int) -> None:
        """`step`: length of the windows, in microseconds."""
        self._step = fixed(step)
        self._state = State()

    def take(self, slots: Ints, times: Ints, values: Floats) -> Judged:
        """Judge one new point of each of these series, and learn from it.

        Args:
            slots: distinct slots; new ones begin new series.
            times: starts of the windows, in microseconds since the epoch. Missing ones are no harm.
            values: finite numbers.

        Raises:
            ValueRefusedError: a value is none; nothing has been taken in.
        """
        values = _checked(slots, times, values)
        block = self._state.taken(slots)
        judged = self._judge(Rows(block), slots, times, values)
        self._state.numbers[slots] = block.T
        return judged

    def _judge(self, rows: Rows, slots: Ints, times: Ints, values: Floats) -> Judged:
        span = self._begin(rows, times, values)
        seasons = self._state.seasons
        at = season(rows, seasons, slots, times)
        points = _points(rows, at, values)
        seen = np.empty((2, len(slots)))
        seen[VALUES], seen[RESTS] = 1, at.known
        weight = _ONE / (rows.seen + _ONE)
        spread, before, limit = rows.deviation.copy(), rows.past.copy(), limits(rows)
        left = deseasoned(rows, points, at.known, weight[RESTS], limit[RESTS])
        shifted = shifts.look(rows, left, at.known, at.spread, at.days)
        views, away = look(rows, points, seen, weight, limit)
        rows.seen += seen
        learn(
            seasons,
            at,
            points[VALUES],
            shifted.size,
            span,
            usual=shifted.usual,
            calm=shifted.calm,
            limit=_TWICE * limit[RESTS],
        )
        surprises = surprise(rows, views, seen.take(BASES, axis=0), weight.take(BASES, axis=0))
        warming = weight >= _WARMED_UP
        if np.count_nonzero(weight >= _FILLED):
            np.copyto(surprises, 0, where=weight.take(_BASES_OF_SIDES, axis=0) >= _WARMING)
        highest: Floats = np.maximum(
            np.maximum.reduce(surprises), np.maximum.reduce(shifted.surprises)
        )
        relied = weight[RESTS] < at.known * _WARMED_UP
        np.copyto(away[VALUES], away[RESTS], where=relied)
        np.copyto(spread[VALUES], spread[RESTS], where=relied)
        return Judged(
            score=_score(rows, highest),
            ready=~warming[VALUES],
            seen=rows.seen[VALUES].astype(np.int64),
            expected=values - away[VALUES],
            spread=shifts.DEVIATION * spread[VALUES],
            shape=kinds(rows, (before, points), surprises, shifted.surprises, highest >= _HALF),
        )

    def _begin(self, rows: Rows, times: Ints, values: Floats) -> Floats:
        """Begin series that are new; the share of an hour for which each point stands."""
        if np.count_nonzero(rows.seen[VALUES]) < len(values):
            new = rows.seen[VALUES] == 0
            np.copyto(rows.first, times, where=new)
            np.copyto(rows.last, times - HOUR, where=new)
            np.copyto(rows.origin, values, where=new)
            np.copyto(rows.excess, FIRST_EXCESS, where=new)
            np.copyto(rows.sizes, shifts.FIRST_SIZES, where=new)
        span = np.maximum(times - rows.last, self._step)
        np.minimum(span, HOUR, out=span)
        rows.last[:] = times
        share: Floats = span / HOUR
        return share

    def forget(self, slots: Ints) -> None:
        """Forget these series; their slots may be taken by others."""
        self._state.forget(slots)

    def stored(self, slots: Ints) -> pa.RecordBatch:
        """The state of these slots, a row each: `restore` goes on from it to the same bits."""
        return self._state.stored(slots)

    def restore(self, slots: Ints, batch: pa.RecordBatch) -> None:
        """Put stored state into these slots; that of another version is none: they begin anew."""
        if batch.schema.equals(STORED):
            self._state.restore(slots, batch)


def _points(rows: Rows, at: Season, values: Floats) -> Floats:
    """The values, and what the season leaves of them; no number is left where there is none."""
    points = np.empty((2, len(values)))
    np.subtract(values, rows.origin, out=points[VALUES])
    np.subtract(points[VALUES], at.usual, out=points[RESTS])
    np.copyto(points[RESTS], 0, where=at.known == _NOTHING)
    return points


def _score(rows: Rows, highest: Floats) -> Floats:
    """The scores; an alarm makes the next ones less likely."""
    rows.cooling *= _FADING
    left = np.maximum(highest - rows.cooling, _NOTHING)
    np.copyto(rows.cooling, _COOLING * highest, where=left >= _HALF)
    score: Floats = left / (left + _HALF)
    return score


def _checked(slots: Ints, times: Ints, values: Floats) -> Floats:
    """The values, none larger than what can be computed with; raises ValueRefusedError."""
    wrong = ~(np.abs(values) <= _LARGEST)
    if not np.count_nonzero(wrong):
        return values
    wrong &= ~np.isfinite(values)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueRefusedError(
            f"a detector takes finite numbers, not {values[row]} "
            f"(slot {slots[row]}, time {times[row]}): leave such windows out"
        )
    return np.clip(values, -_LARGEST, _LARGEST)
