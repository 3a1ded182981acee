"""What the engine's tests share: rows of calls, stage 1 of a partition, stage 2 of a topic.

Times are in seconds since `START` unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nilo_schemas.catalogue import Catalogue, Metric
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
from nilo_stream_processors.engine.merged import to_arrow
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
from tests.property.engine_cases import LLM, SECOND, START, batch_of

HOUR = 3600.0
Row = dict[str, Any]
Message = tuple[Partials, dict[Source, Mark]]


def measured(**values: Any) -> Metric:
    """A metric of the duration of calls by model, in windows of ten seconds."""
    usual = {
        "description": "d",
        "owner": "o",
        "event": LLM,
        "where": {"type": "llm.call"},
        "error_when": {"status": "ERROR"},
        "value": "duration",
        "unit": "seconds",
        "dimensions": ["model"],
        "windows": ["10s"],
        "aggregates": ["count", "errors", "sum", "min", "max", "mean", "rate", "quantiles"],
    }
    metric = Metric.model_validate(usual | values)
    assert list(metric.problems()) == []
    return metric


def call(at: float, model: str | None = "a", **more: Any) -> Row:
    """An event as the decoder gives it."""
    row = {"type": "llm.call", "model": model, "provider": "p", "duration": 1000}
    return {**row, "sample_rate": 1, "time": START + round(at * SECOND), **more}


class Cell(NamedTuple):
    """What a source partition says of a pane or session."""

    metric: str
    labels: tuple[str, ...]
    start: float
    events: int


class Stage1:
    """Stage 1 of one source partition; the offsets of its rows go up by one."""

    def __init__(
        self,
        metrics: dict[str, Metric],
        partition: int = 0,
        *,
        disorder: float = 0,
        grace: float = HOUR,
        future: float = HOUR,
        cap: int = 10_000,
    ) -> None:
        self.metrics, self.cap, self.source = metrics, cap, (LLM, partition)
        self.bounds = Bounds(*(round(each * SECOND) for each in (disorder, grace, future)))
        self.state = source_state(plan(metrics, cap))

    def feed(self, *rows: Row) -> list[str]:
        """Take a batch; says of each row `taken`, `late` or `future`."""
        first = self.state.last_offset + 1
        offsets = np.arange(first, first + len(rows))
        stamps = np.array([row.get("stamp", row["time"]) for row in rows], np.int64)
        batch = batch_of(LLM, [{k: v for k, v in row.items() if k != "stamp"} for row in rows])
        refused = aggregate(self.state, batch, offsets, stamps, self.bounds)
        said = np.full(len(rows), "taken", np.object_)
        said[refused.late], said[refused.future] = "late", "future"
        return [str(each) for each in said]

    def mark(self) -> Mark:
        """How far it has come."""
        return Mark(self.state.watermark, self.state.last_offset, self.state.idle)

    def commit(self) -> Message:
        """The cells that changed, and the mark that goes with them."""
        message = changes(self.state, self.source), {self.source: self.mark()}
        expire(self.state, self.bounds.grace)
        return message

    def cells(self) -> list[Cell]:
        """All cells that hold events; none counts as changed any more."""
        found = _cells(everything(self.state, self.source, Partials.joined([])), self.metrics)
        return sorted(each for each in found if each.events)

    def crashed(self, *saved: Message) -> Stage1:
        """The same partition with a worker that begins from what was saved."""
        after = Stage1(self.metrics, self.source[1], cap=self.cap)
        after.bounds = self.bounds
        restore_source(after.state, Partials.joined([partials for partials, _ in saved]).newest())
        mark = saved[-1][1][self.source]
        after.state.watermark, after.state.last_offset, after.state.idle = mark
        return after


def _cells(partials: Partials, metrics: dict[str, Metric]) -> Iterator[Cell]:
    columns = partials.metric, partials.series, partials.start, partials.sums[0]
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
    """Stage 2 of all series."""

    def __init__(
        self, metrics: dict[str, Metric], *, partitions: int = 1, grace: float = HOUR
    ) -> None:
        self.metrics, self.partitions, self.grace = metrics, partitions, round(grace * SECOND)
        self.state = merge_state(Catalogue(metrics=metrics))

    def take(self, *messages: Message) -> None:
        """Take in what partitions committed."""
        for partials, marks in messages:
            take(self.state, partials, marks, self.grace)

    def publish(self) -> list[Shown]:
        """What is published now."""
        found = []
        for windows in publish(self.state, self._partitions_of):
            rows = to_arrow(windows).to_pylist(maps_as_pydicts="strict")
            places = zip(windows.series, windows.start.tolist(), windows.end.tolist(), strict=True)
            for (series, start, end), row in zip(places, rows, strict=True):
                span = (start - START) / SECOND, (end - START) / SECOND
                labels = tuple(labels_of(series, len(windows.metric.dimensions)))
                found.append(Shown(windows.name, windows.window, *span, labels, row))
        return found

    def forget(self) -> None:
        """Forget what no event can reach."""
        forget(self.state, self._partitions_of, self.grace)

    def crashed(self) -> Stage2:
        """A worker that begins from all that is known now, published or not."""
        after = Stage2(self.metrics, partitions=self.partitions)
        after.grace = self.grace
        partials, rows = stored(self.state, all_of_it=True)
        after.state.marks.update(self.state.marks)
        after.state.passed.update(self.state.passed)
        restore(after.state, partials, rows, np.zeros(len(rows), np.bool_), self.grace)
        return after

    def _partitions_of(self, _topic: str) -> int:
        return self.partitions


def brief(windows: list[Shown]) -> list[tuple[str, float, bool, int]]:
    """The windows in short, sorted."""
    return sorted(each.brief for each in windows)


def counted(windows: list[Shown]) -> list[tuple[str, float, int]]:
    """The counts of the windows, sorted."""
    return sorted(each.counted for each in windows)
