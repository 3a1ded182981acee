"""Sessions of a grouping: events of a series, each at most a gap after the one before.

A source partition keeps its own sessions; stage 2 joins those of all partitions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nilo_stream_processors.engine.arrays import Bools, Ints, distinct
from nilo_stream_processors.engine.cells import Cells
from nilo_stream_processors.engine.columns import Chosen, Columns
from nilo_stream_processors.engine.partials import Partials, withdrawals
from nilo_stream_processors.engine.plan import Grouping
from nilo_stream_processors.engine.series import OTHER, text_of


class Sessions:
    """Sessions by series. In each stretch of one gap `grouping.cap` series are taken in by name.

    After a restart a series counts as taken in from the first to the last event of its sessions.
    """

    def __init__(self, grouping: Grouping) -> None:
        self.grouping = grouping
        self.cells = Cells(grouping.metrics)
        self._slots: dict[str, list[int]] = {}
        self._named: dict[int, set[str]] = {}
        self._other = text_of([OTHER] * len(grouping.dimensions))
        self._withdrawn: set[tuple[str, int]] = set()

    def in_time(self, times: Ints, before: Ints, grace: int) -> Bools:
        """Which events still find a session: watermarks stand `before` each of them."""
        return times + self.grouping.gap + grace > before

    def add(self, rows: Chosen, columns: Columns, _before: Ints) -> int:
        """Add rows of a batch; returns how many of them fell to `__other__`."""
        times = columns.times[rows]
        numbers, series, capped = self._named_series(rows, columns)
        order, firsts, lasts = _runs(numbers, times, self.grouping.gap)
        slots = np.empty(len(firsts), np.int64)
        for index, (first, last) in enumerate(zip(order[firsts], order[lasts], strict=True)):
            slots[index] = self._slot(series[numbers[first]], int(times[first]), int(times[last]))
        members = np.empty(len(order), np.int64)
        members[order] = np.repeat(slots, np.diff(np.append(firsts, len(order))))
        self.cells.add(members, rows, columns)
        return capped

    def _named_series(self, rows: Chosen, columns: Columns) -> tuple[Ints, list[str], int]:
        """The number of each row's series under the cap, the series, and how many are capped."""
        numbers, texts = columns.series(self.grouping.dimensions, rows)
        series = texts.tolist()
        stretches = columns.times[rows] // self.grouping.gap
        first = int(stretches.min())
        span = int(stretches.max()) - first + 1
        found, members = distinct(numbers * span + stretches - first, len(series) * span)
        owners = np.empty(len(found), np.int64)
        for index, number in enumerate(found.tolist()):
            which, place = divmod(number, span)
            named = self._takes(series[which], first + place)
            owners[index] = which if named else len(series)
        capped = int((owners[members] == len(series)).sum())
        return owners[members], [*series, self._other], capped

    def _takes(self, series: str, stretch: int) -> bool:
        named = self._named.setdefault(stretch, set())
        if len(named) < self.grouping.cap or not self.grouping.dimensions:
            named.add(series)
        return series in named

    def _slot(self, series: str, first: int, last: int) -> int:
        """The slot of the one session that these times belong to; others are joined into it."""
        mine = self._slots.setdefault(series, [])
        gap, start, end = self.grouping.gap, self.cells.start, self.cells.end
        near = [s for s in mine if start[s] - gap <= last and end[s] + gap >= first]
        if not near:
            mine.append(self._new(series, first, last))
            return mine[-1]
        kept = min(near, key=lambda slot: int(start[slot]))
        for slot in near:
            first, last = min(first, int(start[slot])), max(last, int(end[slot]))
        self._withdraw([slot for slot in near if start[slot] != first])
        start[kept], end[kept] = first, last
        self.cells.dirty[kept] = True
        for slot in near:
            if slot != kept:
                self.cells.move(slot, kept)
                mine.remove(slot)
        return kept

    def _new(self, series: str, start: int, end: int) -> int:
        texts = np.array([series], np.object_)
        return int(self.cells.new(texts, np.array([start]), np.array([end]))[0])

    def _withdraw(self, slots: list[int]) -> None:
        cells = self.cells
        self._withdrawn |= {(str(cells.series[slot]), int(cells.start[slot])) for slot in slots}

    def withdrawn(self, source: tuple[str, int], offset: int) -> Partials:
        """Partials without events for the starts that are no session's any more.

        Args:
            source: topic and partition.
            offset: the last offset that the state holds.
        """
        held = {(str(series), int(start)) for series, start in self._held()}
        gone = sorted(self._withdrawn - held)
        self._withdrawn.clear()
        starts = np.array([start for _, start in gone], np.int64)
        texts = np.array([series for series, _ in gone], np.object_)
        return Partials.joined(
            [
                withdrawals(name, (texts, starts), source, self.grouping.gap, offset)
                for name in self.cells.metrics
            ]
        )

    def _held(self) -> Iterator[tuple[str, int]]:
        for slots in self._slots.values():
            for slot in slots:
                yield self.cells.series[slot], self.cells.start[slot]

    def restore(self, stored: Partials) -> None:
        """Join stored cells of one metric in."""
        rows = zip(stored.series, stored.start.tolist(), stored.end.tolist(), strict=True)
        slots = [self._restored(text, start, end) for text, start, end in rows]
        self.cells.join(np.array(slots, np.int64), str(stored.metric[0]), stored)

    def _restored(self, series: str, start: int, end: int) -> int:
        gap = self.grouping.gap
        for stretch in range(start // gap, end // gap + 1):
            self._named.setdefault(stretch, set()).add(series)
        mine = self._slots.setdefault(series, [])
        found = [slot for slot in mine if self.cells.start[slot] == start]
        if not found:
            mine.append(self._new(series, start, end))
        return (found or mine)[-1]

    def expire(self, watermark: int, grace: int) -> None:
        """Forget the sessions that no event of this source partition can reach any more."""
        gap = self.grouping.gap
        end = self.cells.end
        gone = []
        for series, slots in list(self._slots.items()):
            past = [slot for slot in slots if end[slot] + 2 * gap + grace <= watermark]
            if past:
                gone += past
                self._slots[series] = [slot for slot in slots if slot not in past]
            if not self._slots[series]:
                del self._slots[series]
        self.cells.remove(np.array(gone, np.int64))
        for stretch in [k for k in self._named if (k + 2) * gap + grace <= watermark]:
            del self._named[stretch]


def _runs(series: Ints, times: Ints, gap: int) -> tuple[Ints, Ints, Ints]:
    """Rows by series and time, and where in that order a run of events without a gap is.

    Returns:
        The order, and of each run the first and the last place in it.
    """
    order = np.lexsort((times, series))
    breaks = np.diff(series[order], prepend=-1) != 0
    breaks[1:] |= np.diff(times[order]) > gap
    firsts = np.flatnonzero(breaks)
    return order, firsts, np.append(firsts[1:], len(order)) - 1
