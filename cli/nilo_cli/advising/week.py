"""All rules once more on the windows of some days, in the order of their ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from nilo_cli.advising.census import Census, census_window
from nilo_cli.advising.listener import Listener
from nilo_cli.rerun.episodes import Episode, Episodes
from nilo_cli.rerun.rerun import Rerun, kinds_of
from nilo_cli.rerun.slices import by_kind
from nilo_consumers.window_rows import Kind
from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.detect.watcher import Watcher

_DAY = 86_400_000_000


@dataclass
class RuleWeek:
    """What a rule has made of the windows."""

    rule: Rule
    listener: Listener
    hop: int
    met: Episodes = field(default_factory=Episodes)

    @property
    def episodes(self) -> list[Episode]:
        """When its alerts were active."""
        return self.met.found


class Week:
    """Takes in slices of windows; afterwards `rules` and `metrics` tell what there was.

    Args:
        cap: series that are remembered of a metric in a partition.
        partitions: of the processors.
    """

    def __init__(self, catalogue: Catalogue, cap: int, partitions: int) -> None:
        self._catalogue, self._rerun = catalogue, Rerun(catalogue, cap, partitions)
        self.rules = {name: _listened(watcher) for name, watcher in self._rerun.watchers.items()}
        self.metrics = {name: Census(metric) for name, metric in catalogue.metrics.items()}
        self._census = {
            name: census_window(metric).text for name, metric in catalogue.metrics.items()
        }
        self.first = 0

    @property
    def last(self) -> int:
        """When the newest window ended, µs; 0 without one."""
        return self._rerun.last

    @property
    def days(self) -> float:
        """Over how many days windows were seen."""
        return (self.last - self.first) / _DAY

    def wanted(self) -> frozenset[Kind]:
        """The metrics and lengths of the windows that are looked at."""
        rules = (kinds_of(each, self._catalogue.metrics) for each in self._catalogue.rules.values())
        return frozenset(self._census.items()).union(*rules)

    def take(self, rows: pa.Table, safe: int) -> None:
        """Take in final windows with their origin; what ends at `safe` (µs) has all been given."""
        for kind, batch in by_kind(rows, self.wanted()):
            closed = self._rerun.add(kind, batch)
            self.first = int(closed.start.min(initial=self.first or self.last))
            if self._census[kind[0]] == kind[1]:
                self.metrics[kind[0]].take(closed)
        self._note(self._rerun.advance(safe))

    def finish(self) -> None:
        """No more windows come."""
        self._note(self._rerun.advance(self.last))
        for rule in self.rules.values():
            rule.met.finish(self.last)

    def _note(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            self.rules[alert.rule].met.take(alert)


def _listened(watcher: Watcher) -> RuleWeek:
    rule, hop = watcher.rule, watcher.feed.hop
    conditional = rule.when or rule.change or rule.ratio
    small = bool(conditional) and rule.condition().operator.startswith("<")
    needed = rule.windows_for(watcher.feed.window.hop)
    listener = Listener(watcher.judge, needed, -1 if small else 1)
    watcher.judge = listener
    return RuleWeek(rule, listener, hop)
