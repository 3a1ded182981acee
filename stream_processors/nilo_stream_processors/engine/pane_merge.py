"""Stage 2 for one metric's tumbling, hopping and rolled-up windows: merges of its panes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nilo_schemas.catalogue import Metric
from nilo_stream_processors.engine import sums
from nilo_stream_processors.engine.arrays import Bools, Ints, constant
from nilo_stream_processors.engine.merged import Published, content_of, regrouped
from nilo_stream_processors.engine.numbers import Numbers
from nilo_stream_processors.engine.pane_entries import PaneEntries
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.plan import grids, microseconds, pane_length
from nilo_stream_processors.engine.window_rows import WindowRows
from nilo_stream_processors.engine.windows import Windows


class PaneMerge:
    """The panes of all source partitions, and the windows that they make up.

    The metric's own windows are published whenever they change, its rollups when a window of the
    longest own length has passed, and all of them when they become final or change after that.
    """

    def __init__(self, name: str, metric: Metric) -> None:
        self.name, self.metric = name, metric
        self.pane, self.gap = pane_length(metric), 0
        windows = [window for window in metric.resolutions() if window.kind != "session"]
        self._numbers = Numbers()
        self.windows = [
            Windows(window, length, phase, self._numbers)
            for window in windows
            for length, phase in grids(window)
        ]
        own = set(metric.windows)
        self._eager = [grid.text in own for grid in self.windows]
        self._beat = max(microseconds(window.length) for window in windows if window.text in own)
        self._beats = 0
        # Up to when rules have looked at windows.
        self._looked = 0
        self.entries = PaneEntries(name, metric, len(self.windows))

    def unknown(self, partials: Partials, passed: int, grace: int) -> Bools:
        """Partials of panes that are forgotten already."""
        past = partials.start + self.pane + grace <= passed
        return past & ~self.entries.known(partials) if past.any() else past

    def take(self, partials: Partials) -> None:
        """Take in snapshots of panes; a newer one of the same source replaces the older one."""
        slots, new = self.entries.put(partials)
        self._link(slots[new])
        for grid, windows in zip(self.windows, self.entries.windows, strict=True):
            grid.changed[windows[slots]] = True

    def _link(self, slots: Ints) -> None:
        """Note which windows new entries count into."""
        entries = self.entries
        series = self._numbers.named(entries.series[slots])
        for number, grid in enumerate(self.windows):
            entries.windows[number, slots] = grid.numbers(series, grid.starts(entries.start[slots]))

    def publish(self, watermark: int, clock: int, *, provisional: bool) -> Iterator[Published]:
        """The windows that are due at this watermark; without `provisional` only final ones.

        One that rules look at by this clock is first published without what came late for it.
        """
        beat = provisional and watermark // self._beat != self._beats
        if beat:
            self._beats = watermark // self._beat
        for number, grid in enumerate(self.windows):
            closing = grid.close(watermark)
            due = closing | grid.again
            # What is published again has its revision already, and rules have it from the state.
            ahead = grid.start + grid.length > self._looked
            unseen = closing | (grid.final & ahead & ~grid.again)
            due |= grid.changed & (grid.final | (provisional and self._eager[number]) | beat)
            numbers = np.flatnonzero(due)
            if len(numbers):
                numbers = numbers[np.argsort(grid.start[numbers], kind="stable")]
                yield from self._in_turn(number, numbers, watermark, unseen)
                grid.changed[numbers] = grid.again[numbers] = False
                grid.unsaved[numbers] = True
        self._looked = max(self._looked, clock)

    def _in_turn(
        self, number: int, numbers: Ints, watermark: int, unseen: Bools
    ) -> Iterator[Published]:
        grid = self.windows[number]
        late = self._have_late(number)
        # Those that rules have looked at have nothing new for them.
        known = numbers[late[numbers] & ~unseen[numbers] & grid.final[numbers]]
        for some, as_late in ((np.setdiff1d(numbers, known), False), (known, True)):
            if len(some):
                yield self._published(number, some, watermark, late=as_late)
        more = numbers[late[numbers] & unseen[numbers]]
        if len(more):
            grid.revision[more] += 1
            yield self._published(number, more, watermark, late=True)

    def _have_late(self, number: int) -> Bools:
        """Which windows have entries that came when they were closed."""
        grid, entries = self.windows[number], self.entries
        found = np.zeros(grid.capacity, np.bool_)
        rows = np.flatnonzero((entries.level > 0) & entries.live)
        if len(rows):
            windows = entries.windows[number, rows]
            behind = entries.level[rows] >= grid.start[windows] + grid.length
            found[windows[behind & (windows >= 0)]] = True
        return found

    def _published(self, number: int, numbers: Ints, watermark: int, *, late: bool) -> Published:
        grid, entries = self.windows[number], self.entries
        # Behind the last window stands the owner of entries that are in none: nobody.
        owners = np.full(grid.capacity + 1, -1)
        owners[numbers] = np.arange(len(numbers))
        members = owners[entries.windows[number]]
        start = grid.start[numbers]
        end = start + grid.length
        rows = np.flatnonzero((members >= 0) & entries.live)
        if not late:
            closed = grid.final[numbers][members[rows]] & (entries.level[rows] > 0)
            rows = rows[~(closed & (entries.level[rows] >= end[members[rows]]))]
        return Published(
            name=self.name,
            metric=self.metric,
            window=grid.text,
            series=grid.series[numbers],
            start=start,
            end=end,
            final=grid.final[numbers],
            revision=grid.revision[numbers],
            watermark=np.minimum(watermark, end),
            content=content_of(entries, rows, members[rows], len(numbers)),
            late=late,
        )

    def expire(self, passed: int, grace: int) -> None:
        """Forget what no event can reach; of panes in open windows their sum stays as a rest."""
        entries = self.entries
        past = np.flatnonzero(entries.live & (entries.end + grace <= passed))
        panes = past[entries.gap[past] == 0]
        for number, grid in enumerate(self.windows):
            windows = entries.windows[number, panes]
            ends = grid.start[windows] + grid.length
            open_ = (windows >= 0) & (ends + grace > passed)
            if open_.any():
                self._keep_rest(number, panes[open_])
        if len(past):
            entries.forget(past)
        for grid in self.windows:
            grid.forget(passed, grace)

    def _keep_rest(self, number: int, panes: Ints) -> None:
        entries, grid = self.entries, self.windows[number]
        windows = entries.windows[number, panes]
        whole, hop = (constant(length, len(panes)) for length in (grid.length, -grid.hop))
        kept = entries.stored(panes, self.metric.event)
        # No window of which a rest is kept closes before what came late for its pane.
        rest = replace(kept, start=grid.start[windows], pane=whole, gap=hop, level=0 * whole)
        slots = entries.rests(rest)
        entries.windows[number, slots] = windows

    def stored(self, *, all_of_it: bool) -> tuple[Partials, WindowRows]:
        """What to keep in the state: all, or what changed since the last time."""
        entries = self.entries
        slots = entries.slots()
        slots = slots if all_of_it else slots[entries.dirty[slots]]
        entries.dirty[:] = False
        found = []
        for grid in self.windows:
            numbers = np.flatnonzero(grid.live() & (grid.unsaved | all_of_it))
            grid.unsaved[:] = False
            found.append(
                WindowRows.of(
                    (self.name, grid.text),
                    grid.series[numbers],
                    grid.start[numbers],
                    grid.start[numbers] + grid.length,
                    grid.revision[numbers],
                    grid.final[numbers],
                )
            )
        return entries.stored(slots, self.metric.event), WindowRows.joined(found)

    def restore(self, partials: Partials, rows: WindowRows, again: Bools, forgotten: int) -> None:
        """Put stored entries and windows back; those marked `again` are published once more.

        What ended at `forgotten` or earlier was forgotten, or lives on in a rest.
        """
        partials, kept = partials.take(partials.end > forgotten), rows.end > forgotten
        rows, again = rows.take(kept), again[kept]
        self._restore_panes(partials.take(partials.gap == 0))
        for number, grid in enumerate(self.windows):
            mine = (partials.pane == grid.length) & (partials.gap == -grid.hop)
            mine &= partials.start == grid.starts(partials.start)
            slots, _ = self.entries.put(partials.take(mine))
            series = self._numbers.named(self.entries.series[slots])
            windows = grid.numbers(series, self.entries.start[slots])
            self.entries.windows[number, slots] = windows
            self._restore_windows(grid, rows, again)
        self.entries.dirty[:] = False

    def _restore_panes(self, partials: Partials) -> None:
        """Panes of another length, of an earlier catalogue, go to the pane where they begin."""
        starts = partials.start // self.pane * self.pane
        lengths = constant(self.pane, len(partials))
        moved = replace(partials, start=starts, end=starts + self.pane, pane=lengths)
        if (partials.pane != self.pane).any():
            moved = _summed(moved)
        slots, new = self.entries.put(moved)
        self._link(slots[new])

    def _restore_windows(self, grid: Windows, rows: WindowRows, again: Bools) -> None:
        mine = (rows.window == grid.text) & (rows.start == grid.starts(rows.start))
        series = self._numbers.named(rows.series[mine])
        numbers = grid.numbers(series, rows.start[mine])
        grid.revision[numbers], grid.final[numbers] = rows.revision[mine], rows.final[mine]
        grid.again[numbers] = again[mine]


def _summed(partials: Partials) -> Partials:
    """One partial for each series, pane and partition: the sum of those that there are."""
    columns = partials.series, partials.start, partials.partition, partials.level
    places = zip(*(column.tolist() for column in columns), strict=True)
    numbers: dict[tuple[str, int, int, int], int] = {}
    owners = np.array([numbers.setdefault(place, len(numbers)) for place in places], np.int64)
    count = len(numbers)
    block = sums.empty(count)
    sums.join(block, owners, partials.sums)
    _, first = np.unique(owners, return_index=True)
    return replace(
        partials.take(first),
        sums=block,
        buckets=regrouped(partials.buckets, owners, count, np.add),
        registers=regrouped(partials.registers, owners, count, np.maximum),
    )
