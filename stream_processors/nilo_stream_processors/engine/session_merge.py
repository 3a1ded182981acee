"""Stage 2 for one metric's sessions: those of all source partitions that hang together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nilo_schemas.catalogue import Metric
from nilo_schemas.windows import Window
from nilo_stream_processors.engine import sums
from nilo_stream_processors.engine.arrays import Bools
from nilo_stream_processors.engine.entries import Entries
from nilo_stream_processors.engine.merged import Published, content_of
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.plan import microseconds
from nilo_stream_processors.engine.window_rows import WindowRows


@dataclass
class Session:
    """A session as it was published last: its last event, and the slots that it was made of.

    One without slots was withdrawn: its events belong to a session that begins earlier.
    """

    last: int
    slots: tuple[int, ...] = ()
    revision: int = 0
    final: bool = False
    due: bool = True
    unsaved: bool = True


class SessionMerge:
    """The sessions of all source partitions, joined where they are at most a gap apart."""

    def __init__(self, name: str, metric: Metric, window: Window) -> None:
        self.name, self.metric, self.window = name, metric, window
        self.pane, self.gap = 0, microseconds(window.length)
        self.entries = Entries(name, metric)
        self._slots: dict[str, set[int]] = defaultdict(set)
        self._sessions: dict[tuple[str, int], Session] = {}
        self._starts: dict[str, set[int]] = defaultdict(set)
        # The slots of each series with newer snapshots.
        self._changed: dict[str, set[int]] = defaultdict(set)

    def unknown(self, partials: Partials, passed: int, grace: int) -> Bools:
        """Partials of sessions that are forgotten already."""
        past = partials.end + 2 * self.gap + grace <= passed
        return past & ~self.entries.known(partials) if past.any() else past

    def take(self, partials: Partials) -> None:
        """Take in snapshots of sessions; one without events withdraws its session."""
        slots, _ = self.entries.put(partials)
        for slot, series in zip(slots.tolist(), self.entries.series[slots].tolist(), strict=True):
            self._slots[series].add(slot)
            self._changed[series].add(slot)

    def publish(self, watermark: int, _clock: int, *, provisional: bool) -> Iterator[Published]:
        """The sessions that changed or became final, and those that were withdrawn.

        Without `provisional` those that are not final wait.
        """
        for series in sorted(self._changed):
            self._regroup(series)
        self._changed.clear()
        for session in self._sessions.values():
            closes = not session.final and session.last + self.gap <= watermark
            session.final |= closes
            session.due |= closes
        due = sorted(
            key
            for key, session in self._sessions.items()
            if session.due and (session.final or provisional)
        )
        if due:
            yield self._published(due, watermark)

    def _regroup(self, series: str) -> None:
        groups = self._groups(series)
        for start in self._starts[series] - groups.keys():
            self._update(series, start, Session(self._sessions[series, start].last))
        for start, session in groups.items():
            self._update(series, start, session)

    def _update(self, series: str, start: int, new: Session) -> None:
        old = self._sessions.get((series, start))
        if old is None:
            self._sessions[series, start] = new
            self._starts[series].add(start)
        elif old.slots != new.slots or not self._changed[series].isdisjoint(new.slots):
            before = old.last
            old.last, old.slots, old.due, old.unsaved = new.last, new.slots, True, True
            old.revision += old.final
            # Until the watermark has passed its new end as well.
            old.final &= old.last <= before

    def _groups(self, series: str) -> dict[int, Session]:
        """The sessions of a series by start, from all entries that have events."""
        entries, found = self.entries, dict[int, Session]()
        count, current = entries.held.sums[sums.COUNT], 0
        slots = [slot for slot in self._slots[series] if count[slot]]
        for slot in sorted(slots, key=lambda slot: (entries.start[slot], entries.partition[slot])):
            start, last = int(entries.start[slot]), int(entries.end[slot])
            if not found or start - found[current].last > self.gap:
                current, found[start] = start, Session(last)
            session = found[current]
            session.last, session.slots = max(session.last, last), (*session.slots, slot)
        return found

    def _published(self, due: list[tuple[str, int]], watermark: int) -> Published:
        sessions = [self._sessions[key] for key in due]
        for session in sessions:
            session.due, session.unsaved = False, True
        rows = np.array([slot for session in sessions for slot in session.slots], np.int64)
        owners = np.repeat(np.arange(len(due)), [len(session.slots) for session in sessions])
        order = np.argsort(rows)
        end = np.array([session.last + self.gap for session in sessions], np.int64)
        return Published(
            name=self.name,
            metric=self.metric,
            window=self.window.text,
            series=np.array([series for series, _ in due], np.object_),
            start=np.array([start for _, start in due], np.int64),
            end=end,
            final=np.array([session.final for session in sessions], np.bool_),
            revision=np.array([session.revision for session in sessions], np.int64),
            watermark=np.minimum(watermark, end),
            content=content_of(self.entries, rows[order], owners[order], len(due)),
        )

    def expire(self, passed: int, grace: int) -> None:
        """Forget the sessions that no event can reach any more."""
        reach = 2 * self.gap + grace
        past = [k for k, one in self._sessions.items() if one.final and one.last + reach <= passed]
        slots = [slot for key in past for slot in self._sessions[key].slots]
        for series, start in past:
            del self._sessions[series, start]
            self._starts[series].discard(start)
        entries = self.entries
        withdrawn = entries.live & (entries.held.sums[sums.COUNT] == 0)
        slots += np.flatnonzero(withdrawn & (entries.end + reach <= passed)).tolist()
        for slot in slots:
            self._slots[entries.series[slot]].discard(slot)
        if slots:
            entries.forget(np.array(slots, np.int64))
        for series in {series for series, _ in past}:
            if not self._slots[series] and not self._starts[series]:
                del self._slots[series], self._starts[series]

    def stored(self, *, all_of_it: bool) -> tuple[Partials, WindowRows]:
        """What to keep in the state: all, or what changed since the last time."""
        entries = self.entries
        slots = entries.slots()
        slots = slots if all_of_it else slots[entries.dirty[slots]]
        entries.dirty[:] = False
        kept = {k: one for k, one in self._sessions.items() if one.unsaved or all_of_it}
        for session in kept.values():
            session.unsaved = False
        rows = WindowRows.of(
            (self.name, self.window.text),
            np.array([series for series, _ in kept], np.object_),
            np.array([start for _, start in kept], np.int64),
            np.array([session.last for session in kept.values()], np.int64),
            np.array([session.revision for session in kept.values()], np.int64),
            np.array([session.final for session in kept.values()], np.bool_),
        )
        return entries.stored(slots, self.metric.event), rows

    def restore(self, partials: Partials, rows: WindowRows, again: Bools, forgotten: int) -> None:
        """Put stored entries and windows back; those marked `again` are published once more.

        Sessions that were `forgotten` come back, and are forgotten at the next occasion.
        """
        self.take(partials)
        self._changed.clear()
        self.entries.dirty[:] = False
        for row in np.flatnonzero(rows.window == self.window.text).tolist():
            series, start = str(rows.series[row]), int(rows.start[row])
            self._starts[series].add(start)
            self._sessions[series, start] = Session(
                int(rows.end[row]), (), int(rows.revision[row]), bool(rows.final[row]),
                due=bool(again[row]), unsaved=False,
            )  # fmt: skip
        for series in self._slots:
            for start, session in self._groups(series).items():
                if (series, start) in self._sessions:
                    self._sessions[series, start].slots = session.slots
