"""Runs both stages of the engine over a case as the processors do, crashes and all.

A stage saves its state before it publishes, and begins anew from what it saved last: what it did
after that is done again, and what it had saved last is published again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nilo_schemas.catalogue import Catalogue
from nilo_stream_processors.engine import merged, partials
from nilo_stream_processors.engine.merge import (
    Mark,
    Source,
    forget,
    merge_state,
    publish,
    restore,
    stored,
    take,
)
from nilo_stream_processors.engine.merged import Published
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.plan import plan
from nilo_stream_processors.engine.series import labels_of
from nilo_stream_processors.engine.source import (
    Bounds,
    aggregate,
    changes,
    everything,
    expire,
    source_state,
)
from nilo_stream_processors.engine.source import restore as restore_source
from nilo_stream_processors.engine.window_rows import WindowRows
from tests.property.engine_cases import Case, batch_of
from tests.property.reference import Key

# What came over Kafka from stage 1: partials, and behind them the mark of their source.
Message = tuple[Partials, dict[Source, Mark]]


@dataclass(frozen=True)
class Step:
    """A source partition (or, with `who` None, stage 2) goes on, commits or crashes.

    `many` is how many events or messages it takes. A commit ends with or without publishing what
    was saved; without, a crash follows.
    """

    who: int | None
    what: str
    many: int = 0


class SourceRun:
    """Stage 1 of one source partition."""

    def __init__(self, case: Case, source: Source, topic: list[Message]) -> None:
        self.case, self.source, self.topic = case, source, topic
        self.refused: dict[int, str] = {}
        self._saved: list[tuple[Partials, Mark]] = []
        self._begin()

    def _begin(self) -> None:
        metrics = Catalogue(metrics=self.case.metrics).of_event(self.source[0])
        self.state = source_state(plan(metrics, self.case.rules["series_cap"]))

    def feed(self, many: int) -> None:
        """Take the next events in one batch."""
        rows = [e for e in self.case.events[self.source] if e["offset"] > self.state.last_offset]
        rows, rules = rows[:many], self.case.rules
        if not rows:
            return
        offsets = np.array([row["offset"] for row in rows])
        stamps = np.array([row["timestamp"] for row in rows]) * 1000
        bounds = Bounds(rules["bound"], rules["grace"], rules["future_bound"])
        refused = aggregate(self.state, batch_of(self.source[0], rows), offsets, stamps, bounds)
        self.refused |= {rows[row]["offset"]: "late" for row in refused.late}
        self.refused |= {rows[row]["offset"]: "future" for row in refused.future}

    def commit(self, *, snapshot: bool, publishes: bool) -> None:
        """Save what changed, or all; then publish it, or crash."""
        state = self.state
        mark = Mark(state.watermark, state.last_offset, state.idle)
        changed = travelled(changes(state, self.source))
        if snapshot or not self._saved:
            self._saved = [(travelled(everything(state, self.source, changed)), mark)]
        else:
            self._saved.append((changed, mark))
        expire(state, self.case.rules["grace"])
        if publishes:
            self.topic.append((changed, {self.source: mark}))
        else:
            self.crash()

    def crash(self) -> None:
        """Begin anew from the saved state; publish the last of it."""
        self._begin()
        if self._saved:
            restore_source(self.state, Partials.joined([p for p, _ in self._saved]).newest())
            last, mark = self._saved[-1]
            self.state.watermark, self.state.last_offset, self.state.idle = mark
            self.topic.append((last, {self.source: mark}))


@dataclass
class MergeRun:
    """Stage 2, and the windows that it published."""

    case: Case
    topic: list[Message]
    windows: dict[tuple[Any, ...], tuple[Key, dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._saved: list[tuple[Partials, WindowRows]] = []
        self._header: tuple[int, dict[Source, Mark], dict[str, int]] = (0, {}, {})
        self.refused = 0
        self._begin()

    def _begin(self) -> None:
        self.state = merge_state(Catalogue(metrics=self.case.metrics))
        self.position, self.state.marks, passed = self._header
        self.state.marks, self.state.passed = dict(self.state.marks), dict(passed)

    def feed(self, many: int) -> None:
        """Take the next messages in one chunk."""
        messages = self.topic[self.position :][:many]
        marks = {source: mark for _, found in messages for source, mark in found.items()}
        take(
            self.state,
            Partials.joined([part for part, _ in messages]),
            marks,
            self.case.rules["grace"],
        )
        self.refused += len(self.state.refused)
        self.position += len(messages)

    def commit(self, *, snapshot: bool, publishes: bool) -> None:
        """Save and publish the windows that are due, or crash before they are published."""
        due = list(publish(self.state, self._partitions_of))
        snapshot = snapshot or not self._saved
        entries, rows = stored(self.state, all_of_it=snapshot)
        saved = travelled(entries), WindowRows.from_arrow(rows.to_arrow())
        self._saved = [saved] if snapshot else [*self._saved, saved]
        self._header = self.position, dict(self.state.marks), dict(self.state.passed)
        forget(self.state, self._partitions_of, self.case.rules["grace"])
        if not publishes:
            self.crash()
            return
        for windows in due:
            self._show(windows)

    def crash(self) -> None:
        """Begin anew from the saved state."""
        self._begin()
        if self._saved:
            rows = [rows for _, rows in self._saved]
            again = np.concatenate([np.full(len(one), one is rows[-1]) for one in rows])
            entries = Partials.joined([entries for entries, _ in self._saved]).newest()
            grace = self.case.rules["grace"]
            restore(self.state, entries, WindowRows.joined(rows), again, grace)

    def _partitions_of(self, topic: str) -> int:
        return sum(source[0] == topic for source in self.case.events)

    def _show(self, windows: Published) -> None:
        places = zip(windows.series, windows.start.tolist(), windows.end.tolist(), strict=True)
        shown = merged.to_arrow(windows).to_pylist(maps_as_pydicts="strict")
        for (series, start, end), row in zip(places, shown, strict=True):
            name = (
                windows.name,
                windows.window,
                start,
                tuple(labels_of(series, len(windows.metric.dimensions))),
            )
            key = (*name[:3], end, name[3])
            old = self.windows.get(name)
            if old is None or old[1]["revision"] <= row["revision"]:
                self.windows[name] = key, row


def travelled(sent: Partials) -> Partials:
    """What is left of partials that went through an Arrow batch."""
    return partials.from_arrow(partials.to_arrow(sent))


@dataclass
class Run:
    """What came out: the newest revision of each window, and the refused events."""

    windows: dict[Key, dict[str, Any]]
    refused: dict[tuple[Source, int], str]


def run(case: Case, steps: Sequence[Step] = ()) -> Run:
    """All events through both stages: first the steps, then the rest at once, until all is idle."""
    topic: list[Message] = []
    sources = [SourceRun(case, source, topic) for source in sorted(case.events)]
    merge = MergeRun(case, topic)
    for step in steps:
        runs: SourceRun | MergeRun = merge
        if step.who is not None:
            runs = sources[step.who % len(sources)]
        _step(runs, step)
    for source in sources:
        source.feed(len(case.events[source.source]))
        source.state.idle = True
        source.commit(snapshot=False, publishes=True)
    merge.feed(len(topic))
    merge.commit(snapshot=False, publishes=True)
    assert not merge.refused
    refused = {(one.source, offset): why for one in sources for offset, why in one.refused.items()}
    windows = {key: row for key, row in merge.windows.values() if row["count"]}
    return Run(dict(sorted(windows.items())), refused)


def _step(runs: SourceRun | MergeRun, step: Step) -> None:
    if step.what == "feed":
        runs.feed(step.many)
    elif step.what == "crash":
        runs.crash()
    else:
        runs.commit(snapshot="snapshot" in step.what, publishes="crash" not in step.what)
