"""The windows of one grid: how each was published last, and which are to be published."""

from __future__ import annotations

import numpy as np

from nilo_schemas.windows import Window
from nilo_stream_processors.engine.arrays import Bools, Ints
from nilo_stream_processors.engine.numbers import Numbers
from nilo_stream_processors.engine.plan import microseconds
from nilo_stream_processors.engine.series import Place, Slots, by_place

FIRST_CAPACITY = 64


class Windows:
    """Windows of one length and phase by series and start; times in microseconds.

    `changed` marks windows whose content is newer than what was published, `again` those that
    were published by a worker that may have died before it was done.
    """

    columns = ("series", "start", "revision", "final", "changed", "again", "unsaved")

    def __init__(self, window: Window, length: int, phase: int, numbers: Numbers) -> None:
        self.text, self.length, self.phase = window.text, length, phase
        self.hop = microseconds(window.hop)
        self.series = np.full(FIRST_CAPACITY, None, np.object_)
        self.start = np.zeros(FIRST_CAPACITY, np.int64)
        self.revision = np.zeros(FIRST_CAPACITY, np.int64)
        self.final = np.zeros(FIRST_CAPACITY, np.bool_)
        self.changed = np.zeros(FIRST_CAPACITY, np.bool_)
        self.again = np.zeros(FIRST_CAPACITY, np.bool_)
        self.unsaved = np.zeros(FIRST_CAPACITY, np.bool_)
        self._found = Slots(numbers)
        self._free = list(range(FIRST_CAPACITY))

    def starts(self, times: Ints) -> Ints:
        """The start of the window that each time falls into."""
        return times - (times - self.phase) % self.length

    def numbers(self, series: Ints, starts: Ints) -> Ints:
        """The numbers of windows, by the numbers of their series; made where there are none."""
        found = np.empty(len(series), np.int64)
        for start, rows in by_place(starts):
            found[rows] = self._found.taken(start, series[rows], self._new)
        return found

    def _new(self, start: Place, series: Ints) -> Ints:
        while len(self._free) < len(series):
            self._grow()
        rest = len(self._free) - len(series)
        numbers = np.array(self._free[rest:], np.int64)
        del self._free[rest:]
        self.series[numbers], self.start[numbers] = self._found.numbers.texts[series], start[0]
        return numbers

    def live(self) -> Bools:
        """Which numbers are those of a window."""
        found: Bools = self.series != None  # noqa: E711  an array is compared by element
        return found

    def close(self, watermark: int) -> Bools:
        """Windows that become final now; those that were and have changed get a new revision."""
        live = self.live()
        self.revision[self.final & self.changed] += 1
        closing = live & ~self.final & (self.start + self.length <= watermark)
        self.final |= closing
        return closing

    def forget(self, passed: int, grace: int) -> None:
        """Forget final windows that no event can reach any more."""
        past = self.live() & self.final & (self.start + self.length + grace <= passed)
        numbers = np.flatnonzero(past)
        for start, rows in by_place(self.start[numbers]):
            self._found.forget(start, self.series[numbers[rows]])
        for name in self.columns:
            getattr(self, name)[numbers] = None if name == "series" else 0
        self._free += numbers.tolist()

    def _grow(self) -> None:
        more = len(self.start)
        self._free += range(more, 2 * more)
        for name in self.columns:
            column = getattr(self, name)
            blank = np.full(more, None if name == "series" else 0, column.dtype)
            setattr(self, name, np.concatenate([column, blank]))
