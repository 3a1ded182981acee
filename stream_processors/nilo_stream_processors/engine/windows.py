"""The windows of one grid: how each was published last, and which are to be published."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nilo_schemas.windows import Window
from nilo_stream_processors.engine.arrays import Bools, Ints, Texts
from nilo_stream_processors.engine.numbers import Numbers
from nilo_stream_processors.engine.plan import microseconds
from nilo_stream_processors.engine.pool import Pool
from nilo_stream_processors.engine.series import Place, Slots, by_place


class Windows(Pool):
    """Windows of one length and phase by series and start; times in microseconds.

    `changed` marks windows whose content is newer than what was published, `again` those that
    were published by a worker that may have died before it was done, `unsaved` those that were
    published since they were stored.
    """

    columns: ClassVar = {
        "series": object, "start": int, "revision": int,
        "final": bool, "changed": bool, "again": bool, "unsaved": bool,
    }  # fmt: skip
    series: Texts
    start: Ints
    revision: Ints
    final: Bools
    changed: Bools
    again: Bools
    unsaved: Bools

    def __init__(self, window: Window, length: int, phase: int, numbers: Numbers) -> None:
        super().__init__()
        self.text, self.length, self.phase = window.text, length, phase
        self.hop = microseconds(window.hop)
        self._found = Slots(numbers)

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
        numbers = self.allot(len(series))
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
        self.give_back(numbers)
