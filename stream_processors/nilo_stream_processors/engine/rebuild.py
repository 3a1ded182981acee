"""Stages 2 and 3 of a bounded replay: pieces of all source partitions become windows and alerts.

As in the live processors a series belongs to one of so many partitions, each with its own windows,
rules and caps; here one process holds all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_stream_processors.engine import merged
from nilo_stream_processors.engine import partials as arrow
from nilo_stream_processors.engine.arrays import Ints
from nilo_stream_processors.engine.detect.detection import Detection
from nilo_stream_processors.engine.merge import (
    Mark,
    MergeState,
    Source,
    clock,
    forget,
    merge_state,
    publish,
    restore,
    stored,
    take,
    watermark,
)
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.pieces import Lines, Piece
from nilo_stream_processors.engine.plan import plan
from nilo_stream_processors.engine.routes import Routes
from nilo_stream_processors.engine.window_rows import WindowRows

# So many rows are taken in before windows that are past are written; they take memory until then.
_ROWS = 100_000


@dataclass
class Output:
    """Final windows, as Arrow batches of MetricWindow, and transitions of alerts, in order."""

    windows: list[pa.RecordBatch] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)


@dataclass
class _Target:
    """What one partition of `metrics.partials` would hold."""

    merges: MergeState
    detection: Detection


@dataclass(frozen=True)
class Shape:
    """What decides about a result beside the catalogue and the events.

    Args:
        partitions: of the topics.
        series_cap: as the setting.
        grace: microseconds.
    """

    partitions: int
    series_cap: int
    grace: int


class Rebuild:
    """Takes the pieces of all sources, the one that is furthest behind next.

    Args:
        catalogue: metrics and rules.
        shape: what else counts.
        sources: all partitions of the topics, as topic (without prefix) and number.
        since: microseconds; of what begins earlier not all events are read: it is no window.
    """

    def __init__(
        self, catalogue: Catalogue, shape: Shape, sources: Iterable[Source], *, since: int = 0
    ) -> None:
        self._shape, self._routes, self._since = shape, Routes(catalogue), since
        self.lines = {
            topic: Lines.of(plan(catalogue.of_event(topic), shape.series_cap))
            for topic in catalogue.topics()
        }
        self._targets = [
            _Target(merge_state(catalogue), Detection(catalogue, shape.series_cap))
            for _ in range(shape.partitions)
        ]
        # How far each source is; what has ended is idle.
        self.marks = {source: Mark(0, -1, idle=False) for source in sources}
        self._topics = {topic for topic, _ in self.marks}
        for target in self._targets:
            target.merges.marks.update(self.marks)
        # The line up to which the windows of each topic are closed.
        self._closed = dict.fromkeys(self.lines, 0)
        self._unwritten = 0

    def next_source(self) -> Source | None:
        """The source whose next piece is to be taken; None when all have ended."""
        going = [(mark.watermark, source) for source, mark in self.marks.items() if not mark.idle]
        return min(going)[1] if going else None

    def take(self, piece: Piece) -> Output:
        """Take the next piece of a source; what closes by it."""
        due = self._unwritten >= _ROWS or (piece.waits and self._has_passed(piece.source[0]))
        found = self.close() if due else Output()
        topic = piece.source[0]
        self.marks[piece.source] = piece.mark
        # As far as windows know: so they close at lines, whatever the pieces are.
        lined = piece.mark._replace(watermark=self.lines[topic].reached(piece.mark.watermark))
        changed = piece.changed
        places = self._routes.targets(changed, len(self._targets))
        for number, target in enumerate(self._targets):
            mine = changed.take(places == number)
            take(target.merges, mine, {piece.source: lined}, self._shape.grace)
        self._unwritten += piece.taken.rows
        return found

    def end(self, source: Source, until: int) -> None:
        """Nothing more comes of a source; it was silent up to `until`, in microseconds."""
        mark = self.marks[source]
        silent = max(0, until - mark.watermark)
        self.marks[source] = mark._replace(idle=True, silent=silent)
        for target in self._targets:
            target.merges.marks[source] = self.marks[source]

    def close(self) -> Output:
        """The windows whose lines all sources have passed, and the alerts that come of them."""
        found, self._unwritten = Output(), 0
        for target in self._targets:
            for windows in publish(target.merges, self._partitions_of, provisional=False):
                batch = self._whole(merged.to_arrow(windows), windows.start)
                found.windows.append(batch)
                if not windows.late and target.detection.wants(windows.name, windows.window):
                    target.detection.add(windows.name, windows.window, batch)
            found.alerts += self._looked(target)
            forget(target.merges, self._partitions_of, self._shape.grace)
        self._closed = {topic: self._line(topic) for topic in self._closed}
        return found

    def _whole(self, batch: pa.RecordBatch, starts: Ints) -> pa.RecordBatch:
        whole = starts >= self._since
        return batch if whole.all() else batch.filter(pa.array(whole))

    def _looked(self, target: _Target) -> Iterator[Alert]:
        for topic in target.detection.topics:
            if topic in self._topics:
                now = clock(target.merges, topic, self._shape.partitions)
                yield from target.detection.advance(topic, now)
        target.detection.take_forgotten()
        target.detection.take_capped()

    def _line(self, topic: str) -> int:
        return watermark(self._targets[0].merges, topic, self._shape.partitions)

    def _has_passed(self, topic: str) -> bool:
        return self._line(topic) > self._closed[topic]

    def _partitions_of(self, _topic: str) -> int:
        return self._shape.partitions

    def clocks(self) -> dict[str, int]:
        """Up to when the rules have looked at each topic, microseconds."""
        merges, partitions = self._targets[0].merges, self._shape.partitions
        return {topic: clock(merges, topic, partitions) for topic in sorted(self._topics)}

    # State

    def stored(self) -> tuple[dict[str, Any], list[tuple[str, pa.RecordBatch]]]:
        """All that it knows right behind `close`: a header for JSON, and named batches."""
        header = {
            "marks": [[*source, *mark] for source, mark in self.marks.items()],
            "targets": [
                {"passed": target.merges.passed, **target.detection.header()}
                for target in self._targets
            ],
        }
        batches = []
        for number, target in enumerate(self._targets):
            entries, windows = stored(target.merges, all_of_it=True)
            batches.append((f"{number}|entries", arrow.to_arrow(entries)))
            batches.append((f"{number}|windows", windows.to_arrow()))
            rules = target.detection.stored(all_of_it=True)
            batches += [(f"{number}|rules|{name}", batch) for name, batch in rules]
        return header, batches

    def restore(
        self, header: Mapping[str, Any], batches: Iterable[tuple[str, pa.RecordBatch]]
    ) -> None:
        """Put back what was stored; it has seen nothing yet."""
        for topic, partition, *mark in header["marks"]:
            self.marks[topic, partition] = Mark(*mark)
        held: list[dict[str, list[Any]]] = [{"entries": [], "windows": []} for _ in self._targets]
        for target, told in zip(self._targets, header["targets"], strict=True):
            target.merges.marks.update(self._lined())
            target.merges.passed.update(told["passed"])
            target.detection.begin_restore(told)
        for name, batch in batches:
            number, kind, *rest = name.split("|", 2)
            if kind == "rules":
                self._targets[int(number)].detection.restore(rest[0], batch)
            else:
                held[int(number)][kind].append(batch)
        for target, mine in zip(self._targets, held, strict=True):
            entries = Partials.joined([arrow.from_arrow(each) for each in mine["entries"]])
            windows = WindowRows.joined([WindowRows.from_arrow(each) for each in mine["windows"]])
            again = np.zeros(len(windows), np.bool_)
            restore(target.merges, entries, windows, again, self._shape.grace)
        self._closed = {topic: self._line(topic) for topic in self._closed}

    def _lined(self) -> dict[Source, Mark]:
        return {
            source: mark
            if mark.idle
            else mark._replace(watermark=self.lines[source[0]].reached(mark.watermark))
            for source, mark in self.marks.items()
        }
