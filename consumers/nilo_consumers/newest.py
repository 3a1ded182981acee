"""Which window of each series is the one to show."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from nilo_consumers.tally import Bools, Ints, last_of_each

_NO_TIME = np.iinfo(np.int64).min
_NO_ROW = -1


class Newest:
    """Start, end and revision of the newest window of each slot."""

    def __init__(self) -> None:
        self._held: Ints = np.empty((3, 0), np.int64)

    def grow(self, more: int) -> None:
        """Make place for so many more slots."""
        self._held = np.pad(self._held, ((0, 0), (0, more)), constant_values=_NO_TIME)

    def forget(self, gone: Bools) -> None:
        """Forget the slots that are marked; they may be taken again."""
        self._held[:, gone] = _NO_TIME

    def chosen(self, rows: pa.Table, slots: Ints) -> Ints:
        """The rows that are shown from now on, at most one of each slot.

        1. a revision of the window shown so far, which may withdraw it
        2. a later window. A session that takes in others ends with the last of them, or later,
           and begins earlier.
        """
        names = "window_start", "window_end", "revision"
        times = np.stack([rows[name].cast(pa.int64()).to_numpy() for name in names])
        starts, ends, revisions = times
        one_each = last_of_each(slots, starts, revisions)

        held = self._held[:, slots[one_each]]
        same = one_each[(starts[one_each] == held[0]) & (revisions[one_each] >= held[2])]  # 1
        self._held[:, slots[same]] = times[:, same]

        later = one_each[alive(rows)[one_each]]
        later = later[last_of_each(slots[later], ends[later], -starts[later])]
        held = self._held[:, slots[later]]
        follows = (ends[later] > held[1]) | ((ends[later] == held[1]) & (starts[later] < held[0]))
        later = later[follows]  # 2
        self._held[:, slots[later]] = times[:, later]

        found = np.full(self._held.shape[1], _NO_ROW)
        found[slots[same]] = same
        found[slots[later]] = later
        rows_found: Ints = found[found != _NO_ROW]
        return rows_found


def alive(rows: pa.Table) -> Bools:
    """Which windows are not withdrawn; as `MetricWindow.withdrawn`."""
    counts: Ints = rows["count"].to_numpy()
    return counts > 0
