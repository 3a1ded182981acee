"""How the members of a topic usually are: seasons, and a level that wanders.

Of the variance of a window's aggregate around its season a part is chance, the rest a level that
wanders from day to day. In what is left of the 20 real series of NAB without their hours of the day
the median autocorrelation is 0.53 from one value to the next, 0.31 after four hours, and 0.28 after
twelve; here it is 0.40, 0.34 and 0.24.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from nilo_producers.fleet import daily_factor
from tests.bench.incidents.scene import A_DAY, START, WINDOW, Bools, Floats, Ints

HOURS_OF_WANDER = 24
# The variance of the wander, where that of chance is 1.
WANDERS = 2 / 3
# How much of the bustle of a working day is left.
WEEKEND = 0.6
_ZONES = 4
_WEEK = 7 * A_DAY
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def traffic(windows: int, members: int) -> Floats:
    """How busy each member is in each window, 1 as a mean of a working day."""
    times = [_EPOCH + timedelta(microseconds=START + n * WINDOW) for n in range(_WEEK)]
    day = np.array([daily_factor(time) for time in times])
    week = np.arange(_WEEK)
    idle = day.min()
    busy = idle + (day - idle) * np.where(is_weekend(week), WEEKEND, 1.0)
    each = np.stack([busy[local(week, member) % _WEEK] for member in range(members)])
    return np.tile(each, -(-windows // _WEEK))[:, :windows]


def local(windows: Ints, member: int) -> Ints:
    """The windows as a member's clock has them: members live in four time zones."""
    return windows + member % _ZONES * A_DAY // _ZONES


def is_weekend(windows: Ints) -> Bools:
    """Which windows lie on a Saturday or Sunday."""
    return windows // A_DAY % 7 >= 5


def around_1(spread: Floats | float, many: int, rng: np.random.Generator) -> Floats:
    """Log-normal factors of mean 1."""
    factors: Floats = np.exp(spread * rng.standard_normal(many) - np.square(spread) / 2)
    return factors


def weekend(windows: Ints) -> Bools:
    """Which windows lie on a Saturday or Sunday."""
    return windows // A_DAY % 7 >= 5


def wander(chance: Floats, windows: int, rng: np.random.Generator) -> Floats:
    """Factors around 1 by which a level wanders, of shape (members, windows).

    Args:
        chance: the coefficient of variation that chance gives to each member's windows.
    """
    stays = np.exp(-WINDOW / (HOURS_OF_WANDER * 3_600_000_000))
    steps = rng.standard_normal((windows, len(chance)))
    steps[1:] *= np.sqrt(1 - stays**2)
    for now in range(1, windows):
        steps[now] += stays * steps[now - 1]
    spread = np.sqrt(np.log1p(WANDERS * chance**2))
    factors: Floats = np.exp(spread * steps - spread**2 / 2).T
    return factors


@dataclass
class Draw:
    """The events of a day, member by member.

    `cell` is the number of each event's (member, window of the day), `mark` the incident that has
    altered it or -1, `kept` whether it takes place.
    """

    day: int
    counts: Ints
    cell: Ints
    time: Ints
    values: dict[str, np.ndarray[Any, Any]]
    mark: Ints
    kept: Bools

    @classmethod
    def of(cls, day: int, expected: Floats, rng: np.random.Generator) -> Draw:
        """Events at random times; `expected` ones of each member in each window of the day."""
        counts = rng.poisson(expected)
        cell = np.repeat(np.arange(counts.size), counts.ravel())
        start = START + day * A_DAY * WINDOW
        time = start + cell % A_DAY * WINDOW + rng.integers(0, WINDOW, len(cell))
        none, all_of_them = np.full(len(cell), -1), np.ones(len(cell), np.bool_)
        return cls(day, counts, cell, time, {}, none, all_of_them)

    @property
    def windows(self) -> slice:
        """The numbers of the day's windows."""
        return slice(self.day * A_DAY, (self.day + 1) * A_DAY)

    def of_member(self, member: int, begin: int, end: int) -> Ints:
        """The events of a member in a stretch of time."""
        ends = np.cumsum(self.counts.sum(axis=1))
        first = int(ends[member] - self.counts[member].sum())
        times = self.time[first : int(ends[member])]
        rows: Ints = first + np.flatnonzero((times >= begin) & (times < end))
        return rows

    def summed(self, values: np.ndarray[Any, Any]) -> Floats:
        """The sum of values in each window."""
        found = np.bincount(self.cell, values.astype(np.float64), self.counts.size)
        return np.asarray(found.reshape(self.counts.shape), np.float64)
