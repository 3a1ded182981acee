"""All rules once more on the windows of some days, in the order of their ends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from nilo_cli.advising.census import Census, census_window
from nilo_cli.advising.listener import Listener
from nilo_cli.rerun.looked import Looked
from nilo_schemas.alerts import Alert, AlertState
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.rule_checks import rule_window
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.detection import Detection
from nilo_stream_processors.engine.detect.watcher import Watcher

_Kind = tuple[str, str]
_DAY = 86_400_000_000


@dataclass(frozen=True)
class Episode:
    """A time in which an alert was active: `[start, end)`, µs; of which series."""

    series: str
    start: int
    end: int


@dataclass
class RuleWeek:
    """What a rule has made of the windows."""

    rule: Rule
    listener: Listener
    hop: int
    episodes: list[Episode] = field(default_factory=list)
    active: dict[str, int] = field(default_factory=dict)

    def take(self, alert: Alert, time: int) -> None:
        """Take in a transition."""
        series = json.dumps(alert.labels, sort_keys=True, ensure_ascii=False)
        if alert.state is AlertState.FIRING:
            self.active.setdefault(series, time)
        elif alert.state is AlertState.RESOLVED and series in self.active:
            self.episodes.append(Episode(series, self.active.pop(series), time))

    def finish(self, until: int) -> None:
        """What is active still is so until now."""
        for series, start in self.active.items():
            self.episodes.append(Episode(series, start, until))
        self.active.clear()


class Week:
    """Takes in slices of windows; afterwards `rules` and `metrics` tell what there was.

    It holds what the rules have learnt and the windows of the last hour, but not those before.

    Args:
        cap: series that are remembered of a metric at most.
    """

    def __init__(self, catalogue: Catalogue, cap: int) -> None:
        self._catalogue, self._looked = catalogue, Looked()
        self._detection = Detection(catalogue, cap)
        self.rules = {
            name: _listened(watcher) for name, watcher in self._detection.watchers.items()
        }
        self.metrics = {name: Census(metric) for name, metric in catalogue.metrics.items()}
        self._census = {
            name: census_window(metric).text for name, metric in catalogue.metrics.items()
        }
        self.first, self.last = 0, 0

    @property
    def days(self) -> float:
        """Over how many days windows were seen."""
        return (self.last - self.first) / _DAY

    def wanted(self) -> frozenset[_Kind]:
        """The metrics and lengths of the windows that are looked at."""
        found = set(self._census.items())
        for rule in self._catalogue.rules.values():
            window = rule_window(rule, self._catalogue.metrics[rule.metric]).text
            found.add((rule.metric, window))
            if rule.kind == "ratio":
                found.add((rule.condition().other or "", window))
        return frozenset(found)

    def take(self, rows: pa.Table, safe: int) -> None:
        """Take in final windows with their origin; what ends at `safe` (µs) has all been given."""
        for kind in sorted(self.wanted()):
            mine = rows.filter((pc.field("metric") == kind[0]) & (pc.field("window") == kind[1]))
            for batch in mine.combine_chunks().to_batches():
                self._take(kind, batch)
        self._advance(min(safe, self.last))

    def finish(self) -> None:
        """No more windows come."""
        self._advance(self.last)
        for rule in self.rules.values():
            rule.finish(self.last)

    def _take(self, kind: _Kind, batch: pa.RecordBatch) -> None:
        closed = Closed.of(batch, self._catalogue.metrics[kind[0]].dimensions)
        in_time = self._looked.in_time(kind, batch, closed)
        self.first = min(self.first or int(closed.start.min()), int(closed.start.min()))
        self.last = max(self.last, int(closed.end.max()))
        if self._census[kind[0]] == kind[1]:
            self.metrics[kind[0]].take(closed.take(in_time.nonzero()[0]))
        if self._detection.wants(*kind):
            self._detection.add(*kind, batch.filter(pa.array(in_time)))

    def _advance(self, now: int) -> None:
        for topic in self._detection.topics:
            self._note(self._detection.advance(topic, now))
        self._detection.take_forgotten()

    def _note(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            self.rules[alert.rule].take(alert, round(alert.time.timestamp() * 1e6))


def _listened(watcher: Watcher) -> RuleWeek:
    rule, hop = watcher.rule, watcher.feed.hop
    conditional = rule.when or rule.change or rule.ratio
    small = bool(conditional) and rule.condition().operator.startswith("<")
    needed = rule.windows_for(watcher.feed.window.hop)
    listener = Listener(watcher.judge, needed, -1 if small else 1)
    watcher.judge = listener
    return RuleWeek(rule, listener, hop)
