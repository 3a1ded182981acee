"""The two stages of the engine, driven as the processors drive them.

A stage saves its state when it commits; when it crashes, it begins anew from what it saved last,
and what it told last is told again. Times are in seconds since `START` unless a name says
otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nilo_schemas.catalogue import Catalogue, Metric
from nilo_stream_processors.engine import merge as stage2
from nilo_stream_processors.engine import merged, partials, source
from nilo_stream_processors.engine.merge import Mark, Source
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.plan import plan
from nilo_stream_processors.engine.series import labels_of
from nilo_stream_processors.engine.window_rows import WindowRows
from tests.rows import LLM, SECOND, START, Row, batch_of

HOUR = 3600.0
# What goes from stage 1 to stage 2: partials, and behind them the mark of their source.
Message = tuple[Partials, dict[Source, Mark]]
_NOTHING = Partials.joined([])


def travelled(sent: Partials) -> Partials:
    """What is left of partials that went through an Arrow batch."""
    return partials.from_arrow(partials.to_arrow(sent))


class Cell(NamedTuple):
    """What a source partition says of a pane or session."""

    metric: str
    labels: tuple[str, ...]
    start: float
    events: int


class Stage1:
    """Stage 1 of one source partition; offsets go up by one where rows have none of their own."""

    def __init__(
        self,
        metrics: dict[str, Metric],
        partition: int = 0,
        *,
        topic: str = LLM,
        disorder: float = 0,
        grace: float = HOUR,
        future: float = HOUR,
        cap: int = 10_000,
    ) -> None:
        self.metrics, self.cap, self.source = metrics, cap, (topic, partition)
        self.bounds = source.Bounds(*(round(each * SECOND) for each in (disorder, grace, future)))
        self._saved: list[Message] = []
        self._begin()

    def _begin(self) -> None:
        metrics = Catalogue(metrics=self.metrics).of_event(self.source[0])
        self.state = source.source_state(plan(metrics, self.cap))

    def feed(self, *rows: Row) -> list[str]:
        """Take a batch; says of each row `taken`, `late` or `future`."""
        first = self.state.last_offset + 1
        offsets = [row.get("offset", number) for number, row in enumerate(rows, first)]
        stamps = [1000 * row.get("timestamp", row["time"] // 1000) for row in rows]
        refused = source.aggregate(
            self.state,
            batch_of(self.source[0], rows),
            np.array(offsets, np.int64),
            np.array(stamps, np.int64),
            self.bounds,
        )
        said = np.full(len(rows), "taken", np.object_)
        said[refused.late], said[refused.future] = "late", "future"
        return [str(each) for each in said]

    def mark(self) -> Mark:
        """How far it has come."""
        return Mark(self.state.watermark, self.state.last_offset, self.state.idle)

    def commit(self, *, snapshot: bool = False) -> Message:
        """Save what changed, or all; gives what changed, and the mark that goes with it."""
        marks = {self.source: self.mark()}
        changed = travelled(source.changes(self.state, self.source))
        if snapshot or not self._saved:
            whole = travelled(source.everything(self.state, self.source, changed))
            self._saved = [(whole, marks)]
        else:
            self._saved.append((changed, marks))
        source.expire(self.state, self.bounds.grace)
        return changed, marks

    def crash(self) -> list[Message]:
        """Begin anew from what was saved; gives the last of it, which is sent once more."""
        self._begin()
        if self._saved:
            found = [found for found, _ in self._saved]
            source.restore(self.state, Partials.joined(found).newest())
            mark = self._saved[-1][1][self.source]
            self.state.watermark, self.state.last_offset, self.state.idle, _ = mark
        return self._saved[-1:]

    def cells(self) -> list[Cell]:
        """All cells that hold events, with what came late; none counts as changed any more."""
        found = source.everything(self.state, self.source, _NOTHING)
        events = Counter[tuple[str, tuple[str, ...], float]]()
        for metric, labels, start, count in _cells(found, self.metrics):
            events[metric, labels, start] += count
        return sorted(Cell(*place, count) for place, count in events.items() if count)


def _cells(found: Partials, metrics: dict[str, Metric]) -> Iterator[Cell]:
    columns = found.metric, found.series, found.start, found.sums[0]
    for name, series, start, count in zip(*(each.tolist() for each in columns), strict=True):
        labels = tuple(labels_of(series, len(metrics[name].dimensions)))
        yield Cell(name, labels, (start - START) / SECOND, count)


@dataclass(frozen=True)
class Shown:
    """A window as it was published; `row` is its message."""

    metric: str
    window: str
    start: float
    end: float
    labels: tuple[str, ...]
    row: Row

    @property
    def brief(self) -> tuple[str, float, bool, int]:
        """Window, start, whether it is final, and its revision."""
        return self.window, self.start, self.row["final"], self.row["revision"]

    @property
    def counted(self) -> tuple[str, float, int]:
        """Window, start and count."""
        return self.window, self.start, self.row["count"]

    def ranges(self) -> dict[int, tuple[int, int]]:
        """First and last offset by source partition."""
        return {
            one["partition"]: (one["first_offset"], one["last_offset"])
            for one in self.row["sources"]
        }


class Stage2:
    """Stage 2 of all series; `position` is how many messages it has taken."""

    def __init__(
        self, metrics: dict[str, Metric], *, partitions: int = 1, grace: float = HOUR
    ) -> None:
        self.metrics, self.partitions, self.grace = metrics, partitions, round(grace * SECOND)
        self._saved: list[tuple[Partials, WindowRows]] = []
        self._header: tuple[int, dict[Source, Mark], dict[str, int]] = (0, {}, {})
        self._begin()

    def _begin(self) -> None:
        self.state = stage2.merge_state(Catalogue(metrics=self.metrics))
        self.position, marks, passed = self._header
        self.state.marks, self.state.passed = dict(marks), dict(passed)

    def take(self, *messages: Message) -> None:
        """Take in, as one chunk, what partitions committed."""
        stage2.take(self.state, Partials.joined([found for found, _ in messages]), {}, self.grace)
        for _, marks in messages:
            stage2.take(self.state, _NOTHING, marks, self.grace)
        self.position += len(messages)

    def due(self) -> list[merged.Published]:
        """What is published now, by metric and window."""
        return list(stage2.publish(self.state, self._partitions_of))

    def publish(self) -> list[Shown]:
        """What is published now, one by one."""
        return [shown for windows in self.due() for shown in _shown(windows)]

    def commit(self, *, snapshot: bool = False) -> list[Shown]:
        """Save what changed, or all, and forget what is past; gives what is published now."""
        published, snapshot = self.publish(), snapshot or not self._saved
        entries, rows = stage2.stored(self.state, all_of_it=snapshot)
        saved = travelled(entries), WindowRows.from_arrow(rows.to_arrow())
        self._saved = [saved] if snapshot else [*self._saved, saved]
        self._header = self.position, dict(self.state.marks), dict(self.state.passed)
        self.forget()
        return published

    def forget(self) -> None:
        """Forget what no event can reach."""
        stage2.forget(self.state, self._partitions_of, self.grace)

    def crash(self) -> None:
        """Begin anew from what was saved; the windows of the last commit are published again."""
        self._begin()
        if self._saved:
            rows = [rows for _, rows in self._saved]
            again = np.concatenate([np.full(len(one), one is rows[-1]) for one in rows])
            entries = Partials.joined([entries for entries, _ in self._saved]).newest()
            stage2.restore(self.state, entries, WindowRows.joined(rows), again, self.grace)

    def _partitions_of(self, _topic: str) -> int:
        return self.partitions


def _shown(windows: merged.Published) -> Iterator[Shown]:
    rows = merged.to_arrow(windows).to_pylist(maps_as_pydicts="strict")
    places = zip(windows.series, windows.start.tolist(), windows.end.tolist(), strict=True)
    for (series, start, end), row in zip(places, rows, strict=True):
        span = (start - START) / SECOND, (end - START) / SECOND
        labels = tuple(labels_of(series, len(windows.metric.dimensions)))
        yield Shown(windows.name, windows.window, *span, labels, row)


def brief(windows: list[Shown]) -> list[tuple[str, float, bool, int]]:
    """The windows in short, sorted."""
    return sorted(each.brief for each in windows)


def counted(windows: list[Shown]) -> list[tuple[str, float, int]]:
    """The counts of the windows, sorted."""
    return sorted(each.counted for each in windows)
