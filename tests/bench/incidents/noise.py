"""The noise of what is watched: how far windows lie from their season when nothing is wrong."""

from __future__ import annotations

import numpy as np

from tests.bench.incidents.scene import A_DAY, START, WINDOW, Floats, Ints
from tests.bench.incidents.usual import weekend

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
        slots = _slots(windows)
        members = len(apart)
        squares = self._squares.setdefault(name, np.zeros((members, _SLOTS)))
        counts = self._counts.setdefault(name, np.zeros((members, _SLOTS)))
        known = ~np.isnan(apart)
        for slot in np.unique(slots):
            here = slots == slot
            squares[:, slot] += np.nansum(apart[:, here] ** 2, axis=1)
            counts[:, slot] += known[:, here].sum(axis=1)

    def of(self, name: str, member: int, times: Ints) -> Floats:
        """One noise of a member's aggregate at each of these times."""
        squares, counts = (_with_neighbours(each[name][member]) for each in self._parts())
        return np.sqrt(squares / counts)[_slots((times - START) // WINDOW)]

    def _parts(self) -> tuple[dict[str, Floats], dict[str, Floats]]:
        return self._squares, self._counts


def _slots(windows: Ints) -> Ints:
    slots: Ints = weekend(windows) * 24 + windows % A_DAY // _AN_HOUR
    return slots


def _with_neighbours(sums: Floats) -> Floats:
    """With the hours before and after it added to each hour."""
    days = sums.reshape(2, 24)
    found: Floats = sum(np.roll(days, shift, axis=1) for shift in (-1, 0, 1)).ravel()
    return found
