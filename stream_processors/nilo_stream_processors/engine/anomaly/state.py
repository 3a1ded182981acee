"""What is kept of each series: two rows of numbers, of the same length for every series."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from nilo_stream_processors.engine.anomaly.season import PARTS_OF_DAY, PLACES, Profiles
from nilo_stream_processors.engine.anomaly.shifts import SUMS
from nilo_stream_processors.engine.anomaly.views import LEVELS, VIEWS
from nilo_stream_processors.engine.arrays import Floats, Ints

FIRST_CAPACITY = 64


class Rows:
    """The numbers of some series as views of one array; the last axis is the series.

    Attributes:
        first, last: times of the first and the latest point, in microseconds.
        origin: the first value; all others are taken relative to it.
        cooling: what the last alarm still takes off a surprise.
        seen: points seen, and of them those that had a season to be compared with.
        past: the last point, of values and rests.
        means: all moving means, which are these two:
        levels: of the values, of what the season leaves of them and of the steps.
        deviation: of the distances from the usual level, of values and rests.
        scale: moving mean of each view, without sign.
        floor, excess: of each view upwards and then of each downwards, the size that few points
            exceed, and by how much these exceed it in the mean.
        agreed: means of what the season says times what the values do, and of its square.
        sums, sizes: the sums for small shifts, and how large each is in the mean when it is not 0.
        products: means of the product of a point and the one before, and of its square, in
            deviations from the quick level.
        away: for how many points there has been a sum for steps, and one for drifts.
        level, points, before: the quick level, the points that it has seen, and the last one in
            deviations.
    """

    def __init__(self, block: Floats) -> None:
        """`block`: `WIDTH` rows, one column to a series."""
        self.first, self.last, self.origin, self.cooling = block[:4]
        self.seen, self.past, self.means = block[4:6], block[6:8], block[8:_SCALE]
        self.levels = self.means[:-2].reshape(3, LEVELS, -1)
        self.deviation = self.means[-2:]
        self.scale = block[_SCALE:_FLOOR]
        self.floor, self.excess = block[_FLOOR:_EXCESS], block[_EXCESS:_AGREED]
        self.agreed, self.sums = block[_AGREED:_SUMS], block[_SUMS:_SIZES]
        self.sizes, self.products = block[_SIZES:_PRODUCTS], block[_PRODUCTS:_AWAY]
        self.away = block[_AWAY:_LEVEL]
        self.level, self.points, self.before = block[_LEVEL:]


_SCALE = 10 + 3 * LEVELS
_FLOOR = _SCALE + VIEWS
_EXCESS = _FLOOR + 2 * VIEWS
_AGREED = _EXCESS + 2 * VIEWS
_SUMS = _AGREED + 2
_SIZES = _SUMS + SUMS
_PRODUCTS = _SIZES + SUMS
_AWAY = _PRODUCTS + 2
_LEVEL = _AWAY + 2
WIDTH = _LEVEL + 3


STORED = pa.schema(
    {"numbers": pa.list_(pa.float64(), WIDTH), "seasons": pa.list_(pa.float32(), PLACES)}
)


class State:
    """Numbers and seasons of all series by slot; the arrays grow with the slots."""

    def __init__(self) -> None:
        self.numbers = np.zeros((FIRST_CAPACITY, WIDTH))
        self.seasons: Profiles = _unknown(FIRST_CAPACITY)

    def taken(self, slots: Ints) -> Floats:
        """The numbers of these slots, copied, a column each."""
        try:
            found = self.numbers.take(slots, axis=0)
        except IndexError:
            self.reach(slots)
            found = self.numbers.take(slots, axis=0)
        return np.ascontiguousarray(found.T)

    def reach(self, slots: Ints) -> None:
        """Make room for these slots."""
        missing = int(slots.max(initial=-1)) + 1 - len(self.numbers)
        if missing > 0:
            more = max(missing, len(self.numbers))
            self.numbers = np.concatenate([self.numbers, np.zeros((more, WIDTH))])
            self.seasons = np.concatenate([self.seasons, _unknown(more)])

    def forget(self, slots: Ints) -> None:
        """Empty these slots."""
        slots = slots[slots < len(self.numbers)]
        self.numbers[slots] = 0
        self.seasons[slots] = _unknown(len(slots))

    def stored(self, slots: Ints) -> pa.RecordBatch:
        """The state of these slots, a row each, to the last bit."""
        self.reach(slots)
        numbers, seasons = self.numbers[slots].reshape(-1), self.seasons[slots].reshape(-1)
        columns = [
            pa.FixedSizeListArray.from_arrays(pa.array(each), type=one.type)
            for each, one in zip((numbers, seasons), STORED, strict=True)
        ]
        return pa.record_batch(columns, STORED)

    def restore(self, slots: Ints, batch: pa.RecordBatch) -> None:
        """Put stored rows into these slots."""
        self.reach(slots)
        self.numbers[slots] = _table(batch["numbers"], WIDTH)
        self.seasons[slots] = _table(batch["seasons"], PLACES)


def _unknown(count: int) -> Profiles:
    """Seasons of which nothing is known: no part of the day, no difference by the week or hour."""
    seasons = np.zeros((count, PLACES), np.float32)
    seasons[:, :PARTS_OF_DAY] = np.nan
    return seasons


def _table(column: pa.FixedSizeListArray, width: int) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = column.flatten().to_numpy(zero_copy_only=False)
    return found.reshape(-1, width)
