"""The noise of what is watched: how far windows lie from their season when nothing is wrong."""

from __future__ import annotations

import numpy as np

from tests.bench.incidents.scene import A_DAY, Floats, Ints, window_of
from tests.bench.incidents.usual import is_weekend, local

_AN_HOUR = 12  # windows
_SLOTS = 48


class Noise:
    """Standard deviations by aggregate and member, for each hour of working days and of weekends.

    Measured from the clean events of the same series around the season that they were drawn from,
    over all days and the hours before and after.
    """

    def __init__(self) -> None:
        self._squares: dict[str, Floats] = {}
        self._counts: dict[str, Floats] = {}

    def add(self, name: str, day: int, apart: Floats) -> None:
        """Take in how far a day's windows are from their season, of shape (members, windows)."""
        windows = day * A_DAY + np.arange(A_DAY)
        squares = self._squares.setdefault(name, np.zeros((len(apart), _SLOTS)))
        counts = self._counts.setdefault(name, np.zeros((len(apart), _SLOTS)))
        for member, mine in enumerate(apart):
            known = ~np.isnan(mine)
            slots = _slots(windows[known], member)
            squares[member] += np.bincount(slots, mine[known] ** 2, _SLOTS)
            counts[member] += np.bincount(slots, minlength=_SLOTS)

    def of(self, name: str, member: int, times: Ints) -> Floats:
        """One noise of a member's aggregate at each of these times."""
        squares = _with_neighbours(self._squares[name][member])
        counts = _with_neighbours(self._counts[name][member])
        return np.sqrt(squares / np.maximum(counts, 1))[_slots(window_of(times), member)]


def _slots(windows: Ints, member: int) -> Ints:
    mine = local(windows, member)
    slots: Ints = is_weekend(mine) * 24 + mine % A_DAY // _AN_HOUR
    return slots


def _with_neighbours(sums: Floats) -> Floats:
    """With the hours before and after it added to each hour."""
    days = sums.reshape(2, 24)
    found: Floats = days + np.roll(days, 1, axis=1) + np.roll(days, -1, axis=1)
    return found.ravel()
