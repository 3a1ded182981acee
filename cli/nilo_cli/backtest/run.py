"""Versions of rules side by side on the windows of a range, which are read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from nilo_cli.rerun.asking import Asking
from nilo_cli.rerun.episodes import Episodes
from nilo_cli.rerun.rerun import Rerun, kinds_of
from nilo_cli.rerun.slices import by_kind
from nilo_consumers.window_rows import Kind
from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.feed import Step
from nilo_stream_processors.engine.detect.verdicts import Verdicts
from nilo_stream_processors.engine.detect.watcher import Watcher
from nilo_stream_processors.engine.grouped import projected, texts


@dataclass
class Counting(Asking):
    """A judge in front of another one, which it asks; it counts what that says from a time on.

    Args:
        judged_by: the other one.
        since: verdicts of windows that end later count, µs.
    """

    since: int
    judged: int = 0

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """What the other one says."""
        verdicts = self.judged_by.judge(step, others)
        if step.end > self.since:
            self.judged += len(verdicts.keys)
        return verdicts


@dataclass
class Seen:
    """The windows of a kind that were looked at in the range; `first` is their earliest start."""

    windows: int = 0
    series: set[str] = field(default_factory=set)
    first: int = 0

    def take(self, closed: Closed, since: int) -> None:
        """Count those that end after a time."""
        mine = closed.end > since
        self.windows += int(mine.sum())
        self.series.update(closed.series[mine].tolist())
        begun = closed.start[mine]
        if len(begun):
            self.first = min(self.first or int(begun.min()), int(begun.min()))


@dataclass
class Version:
    """A rule at work, and what it has made of the windows.

    Attributes:
        seen: the windows of its metric.
        dimensions: those of the metric.
        hop: from the end of one window to that of the next, µs.
        capped: alerts that were not begun because it had too many.
    """

    rule: Rule
    counting: Counting
    seen: Seen
    dimensions: list[str]
    hop: int
    episodes: Episodes = field(default_factory=Episodes)
    capped: int = 0

    @property
    def labels(self) -> list[str]:
        """Those of its series."""
        return self.counting.labels

    @property
    def series(self) -> int:
        """How many series it has looked at."""
        keys = projected(texts(sorted(self.seen.series)), self.dimensions, self.labels)
        return len(set(keys.tolist()))


class Backtest:
    """Takes in slices of windows; afterwards `versions` tells what each rule made of them.

    Args:
        catalogue: whose metrics the rules look at.
        rules: versions, several of one name too; those that are alike run once.
        since: windows that end later are in the range, µs; earlier ones only teach.
        cap: series that are remembered of a metric in a partition.
        partitions: of the processors.
    """

    def __init__(
        self, catalogue: Catalogue, rules: Sequence[Rule], since: int, cap: int, partitions: int
    ) -> None:
        versions = catalogue.model_copy(update={"rules": {each.hash: each for each in rules}})
        self._rerun, self._since = Rerun(versions, cap, partitions), since
        self.kinds = frozenset[Kind]().union(*(kinds_of(r, catalogue.metrics) for r in rules))
        self._seen = {kind: Seen() for kind in self.kinds}
        self.versions = {name: self._version(each) for name, each in self._rerun.watchers.items()}

    @property
    def last(self) -> int:
        """When the newest window ended, µs; 0 without one."""
        return self._rerun.last

    def take(self, rows: pa.Table, safe: int) -> None:
        """Take in final windows with their origin; what ends at `safe` (µs) has all been given."""
        for kind, batch in by_kind(rows, self.kinds):
            self._seen[kind].take(self._rerun.add(kind, batch), self._since)
        self._note(self._rerun.advance(safe))

    def finish(self) -> None:
        """No more windows come."""
        self._note(self._rerun.advance(self.last))
        for name, number in self._rerun.capped().items():
            self.versions[name].capped = number
        for version in self.versions.values():
            version.episodes.finish(self.last)

    def _note(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            self.versions[alert.rule_hash].episodes.take(alert)

    def _version(self, watcher: Watcher) -> Version:
        feed = watcher.feed
        counting = Counting(watcher.judge, self._since)
        watcher.judge = counting
        seen = self._seen[feed.name, feed.window.text]
        return Version(watcher.rule, counting, seen, feed.metric.dimensions, feed.hop)
