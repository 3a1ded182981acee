"""One rule once more on the windows of one series: where it stood at a time, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nilo_cli.rerun.looked import Looked
from nilo_cli.rerun.recorder import KEPT, Look, Recorder
from nilo_cli.rerun.rerun import kinds_of
from nilo_cli.rerun.slices import by_kind
from nilo_consumers.window_rows import Kind
from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.arrays import Bools
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.detection import Detection
from nilo_stream_processors.engine.detect.life import Life, Verdict
from nilo_stream_processors.engine.grouped import projected
from nilo_stream_processors.engine.series import labels_of

# So many ends at a time: what waits for its turn is looked through for each.
_ENDS = 500
# Nothing is to be forgotten of the few series that match.
_SERIES = 1_000_000


@dataclass(frozen=True)
class Late:
    """A window that would have met the condition, but for that its newest revision came late."""

    then: Look
    now: Look


@dataclass(frozen=True)
class Standing:
    """Where a rule stood for a series.

    Attributes:
        key: the labels by name.
        needed: windows in which the condition must hold.
        life: of its alert; None when there has been none lately.
        looks: the last ones, oldest first.
        transitions: of the alert, oldest first.
        late: windows in which late revisions would have changed the verdict.
        newest_end: when the newest window of the series ended, µs; 0 without one.
        clock: up to when was looked, µs.
    """

    rule: Rule
    key: dict[str, str]
    needed: int
    hop: int
    life: Life | None
    looks: list[Look]
    transitions: list[Alert]
    late: list[Late]
    newest_end: int
    clock: int


@dataclass
class _Rows:
    """The windows of the series asked for, of one metric and length."""

    in_time: list[pa.RecordBatch] = field(default_factory=list)
    late: list[pa.RecordBatch] = field(default_factory=list)

    def newest(self, dimensions: list[str]) -> Iterator[pa.RecordBatch]:
        """The newest revision of each window, whenever it came."""
        table = pa.Table.from_batches([*self.in_time, *self.late]).combine_chunks()
        for batch in table.to_batches():
            closed = Closed.of(batch, dimensions)
            places = list(zip(closed.series.tolist(), closed.start.tolist(), strict=True))
            order = np.argsort(closed.revision, kind="stable").tolist()
            newest = {places[row]: row for row in order}
            yield batch.take(pa.array(sorted(newest.values())))


class Trial:
    """Takes in windows, and runs a rule on those of one series.

    Args:
        pairs: labels of the series; those of the rule that are not given must follow from them.
    """

    def __init__(self, catalogue: Catalogue, rule: Rule, pairs: Mapping[str, str]) -> None:
        self._catalogue = Catalogue(metrics=catalogue.metrics, rules={rule.name: rule})
        self.rule, self._pairs, self._looked = rule, dict(pairs), Looked()
        self.windows = kinds_of(rule, catalogue.metrics)
        self.labels = Detection(self._catalogue, 1).watchers[rule.name].judge.labels
        # All metrics of the same events: their windows tell the time as well.
        self.family = frozenset(catalogue.of_event(catalogue.metrics[rule.metric].event))
        self._rows = {kind: _Rows() for kind in self.windows}
        # Of all series that were given and of those that match, the keys that the rule has.
        self.keys: set[str] = set()
        self.matching: set[str] = set()
        self._newest: dict[str, int] = {}
        self.reached = 0

    def take(self, rows: pa.Table) -> None:
        """Take in final windows with their origin, in order of partition and offset."""
        for kind, batch in by_kind(rows, self.windows):
            self._take(kind, batch)

    def named(self, key: str) -> dict[str, str]:
        """The labels of a key by name."""
        return dict(zip(self.labels, labels_of(key, len(self.labels)), strict=True))

    def standing(self, key: str, clock: int) -> Standing:
        """Where the rule stood for a key when windows up to `clock` (µs) had been looked at."""
        rows = {kind: list(held.in_time) for kind, held in self._rows.items()}
        run = _Run(self._catalogue, self.rule, key, clock)
        transitions = run.through(rows)
        watcher = run.watcher
        tracked = watcher.alerts.get(key)
        hop = watcher.feed.hop
        return Standing(
            self.rule,
            self.named(key),
            self.rule.windows_for(watcher.feed.window.hop),
            hop,
            tracked.life if tracked else None,
            list(run.looks),
            transitions,
            self._late(key, clock, list(run.looks)),
            self._newest.get(key, 0),
            clock,
        )

    def _take(self, kind: Kind, batch: pa.RecordBatch) -> None:
        dimensions = self._catalogue.metrics[kind[0]].dimensions
        closed = Closed.of(batch, dimensions)
        in_time, mine = self._looked.in_time(kind, batch, closed), self._match(batch, len(closed))
        keys = projected(closed.series, dimensions, self.labels)
        self.keys.update(keys.tolist())
        self.matching.update(keys[mine].tolist())
        self.reached = max(self.reached, int(closed.end.max()))
        for key, end in zip(keys[mine].tolist(), closed.end[mine].tolist(), strict=True):
            self._newest[key] = max(end, self._newest.get(key, 0))
        self._rows[kind].in_time.append(batch.filter(pa.array(in_time & mine)))
        self._rows[kind].late.append(batch.filter(pa.array(~in_time & mine)))

    def _match(self, batch: pa.RecordBatch, count: int) -> Bools:
        found = np.ones(count, np.bool_)
        for name, value in self._pairs.items():
            values = pc.map_lookup(batch["dimensions"], pa.scalar(name), "first")
            same = pc.fill_null(pc.equal(values, value), False)
            found &= np.asarray(same.to_numpy(zero_copy_only=False), np.bool_)
        return found

    def _late(self, key: str, clock: int, looks: list[Look]) -> list[Late]:
        """The rule on the newest revisions, against what was looked at."""
        if not any(batch.num_rows for held in self._rows.values() for batch in held.late):
            return []
        metrics = self._catalogue.metrics
        rows = {
            kind: list(held.newest(metrics[kind[0]].dimensions))
            for kind, held in self._rows.items()
        }
        run = _Run(self._catalogue, self.rule, key, clock)
        run.through(rows)
        then = {look.end: look for look in looks}
        return [
            Late(then.get(look.end, Look(look.end, Verdict.ABSENT, 0, None)), look)
            for look in run.looks
            if look.verdict is Verdict.BREACH
            and (look.end not in then or then[look.end].verdict is not Verdict.BREACH)
        ]


class _Run:
    """The rule at work up to a time, with somebody who listens to what it says of one key."""

    def __init__(self, catalogue: Catalogue, rule: Rule, key: str, clock: int) -> None:
        self._detection = Detection(catalogue, _SERIES)
        self._key, self._clock = key, clock
        self.watcher = self._detection.watchers[rule.name]
        feed = self.watcher.feed
        since = clock - KEPT * feed.hop
        recorder = Recorder(self.watcher.judge, feed.metric.dimensions, key, since)
        self.looks, self.watcher.judge = recorder.looks, recorder

    def through(self, rows: Mapping[Kind, list[pa.RecordBatch]]) -> list[Alert]:
        """Let the windows pass; the transitions of the key."""
        tables = {
            kind: pa.Table.from_batches(batches).combine_chunks()
            for kind, batches in rows.items()
            if batches
        }
        found: list[Alert] = []
        for last, due in _in_turn(tables, self._clock):
            for kind, batch in due:
                self._detection.add(*kind, batch)
            found += self._detection.advance(self._topic, last)
        found += self._detection.advance(self._topic, self._clock)
        labels = self.watcher.judge.labels
        mine = dict(zip(labels, labels_of(self._key, len(labels)), strict=True))
        return [alert for alert in found if alert.labels == mine]

    @property
    def _topic(self) -> str:
        return self.watcher.feed.metric.event


def _in_turn(
    tables: Mapping[Kind, pa.Table], clock: int
) -> Iterator[tuple[int, list[tuple[Kind, pa.RecordBatch]]]]:
    """Windows in the order of their ends, some at a time, each with the last end among them."""
    ends: dict[Kind, Any] = {
        kind: np.asarray(table["window_end"].cast(pa.int64()).to_numpy(), np.int64)
        for kind, table in tables.items()
    }
    known = np.unique(np.concatenate([[], *ends.values()])).astype(np.int64)
    known = known[known <= clock]
    for first in range(0, len(known), _ENDS):
        some = known[first : first + _ENDS]
        due = []
        for kind, table in tables.items():
            inside = (ends[kind] >= some[0]) & (ends[kind] <= some[-1])
            due += [(kind, batch) for batch in table.filter(pa.array(inside)).to_batches()]
        yield int(some[-1]), due
