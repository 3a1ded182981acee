"""All rules of a catalogue at work on the final windows of one partition.

The same windows give the same transitions, however they are cut into batches: windows are looked at
in the order of their ends, each moment once, when the clock of their events has passed it. The
clock comes in as data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue, Metric
from nilo_schemas.rule_checks import rule_window
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.arrays import Ints
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.feed import EMPTY, Feed, Step
from nilo_stream_processors.engine.detect.judges import judge_of
from nilo_stream_processors.engine.detect.transition import time_of
from nilo_stream_processors.engine.detect.watcher import Tracked, Watcher, ended, tracked_of

Place = tuple[str, str]


class Detection:
    """The rules of a catalogue, and what they have learnt.

    Args:
        cap: series that are remembered of a metric at most.
    """

    def __init__(self, catalogue: Catalogue, cap: int) -> None:
        self._catalogue, self._cap = catalogue, cap
        self._feeds: dict[Place, Feed] = {}
        self.watchers = {
            name: self._watcher(rule) for name, rule in sorted(catalogue.rules.items())
        }
        self._orphans: dict[str, dict[str, Tracked | None]] = {}

    @property
    def topics(self) -> list[str]:
        """The topics whose clocks matter."""
        return sorted({feed.metric.event for feed in self._feeds.values()})

    def wants(self, metric: str, window: str) -> bool:
        """Whether some rule looks at these windows."""
        return (metric, window) in self._feeds

    def add(self, metric: str, window: str, final: pa.RecordBatch) -> None:
        """Take in final windows of one metric and length, as Arrow batches of MetricWindow."""
        self._feeds[metric, window].add(final)

    def advance(self, topic: str, now: int) -> Iterator[Alert]:
        """The transitions up to a time.

        Args:
            topic: whose events the clock is about.
            now: its time in microseconds; what ends later waits.
        """
        yield from self._end_orphans(topic, now)
        feeds = {place: feed for place, feed in self._feeds.items() if feed.metric.event == topic}
        while True:
            dues = {
                name: watcher.due()
                for name, watcher in self.watchers.items()
                if watcher.feed.metric.event == topic
            }
            ends = {place: self._next_end(feed, now, dues) for place, feed in feeds.items()}
            end = min((end for end in ends.values() if end is not None), default=None)
            if end is None:
                return
            due = {place: feeds[place] for place in feeds if ends[place] == end}
            yield from self._look(due, end, dues)

    def _next_end(self, feed: Feed, now: int, dues: dict[str, int | None]) -> int | None:
        mine = [due for name, due in dues.items() if self.watchers[name].feed is feed]
        return feed.next_end(now, min((due for due in mine if due is not None), default=None))

    def _look(
        self, due: dict[Place, Feed], end: int, dues: dict[str, int | None]
    ) -> Iterator[Alert]:
        for feed in due.values():
            self._forget(feed, feed.too_old(end))
        found = {place: feed.step(end) for place, feed in due.items()}
        steps = {place: step for place, (step, _) in found.items()}
        for name, watcher in self.watchers.items():
            place = watcher.rule.metric, watcher.feed.window.text
            if place in steps and (len(steps[place].rows) or dues[name] == end):
                yield from watcher.look(steps[place], _others(steps, place[1]))
        for place, (_, gone) in found.items():
            self._forget(due[place], gone)

    def _forget(self, feed: Feed, slots: Ints) -> None:
        """Forget series, and what the rules have learnt of them."""
        if not len(slots):
            return
        series = feed.texts(slots)
        for watcher in self.watchers.values():
            if watcher.feed is feed:
                watcher.judge.forget(series)
        feed.forget(slots)

    def take_forgotten(self) -> list[str]:
        """The fingerprints of alerts that are long over, each told once."""
        found = []
        for watcher in self.watchers.values():
            found += watcher.forgotten
            watcher.forgotten = []
        return found

    def take_capped(self) -> dict[str, int]:
        """By rule, how many alerts were not begun because it has too many; told once."""
        found = {}
        for name, watcher in self.watchers.items():
            if watcher.capped:
                found[name], watcher.capped = watcher.capped, 0
        return found

    # Rules

    def _watcher(self, rule: Rule) -> Watcher:
        metric = self._catalogue.metrics[rule.metric]
        feed = self._feed(rule.metric, metric, rule)
        if rule.kind == "ratio":
            other = rule.condition().other or ""
            self._feed(other, self._catalogue.metrics[other], rule)
        return Watcher(rule, metric, feed, judge_of(rule, metric, feed, self._catalogue))

    def _feed(self, name: str, metric: Metric, rule: Rule) -> Feed:
        window = rule_window(rule, self._catalogue.metrics[rule.metric])
        place = name, window.text
        if place not in self._feeds:
            cap = metric.max_series or self._cap
            self._feeds[place] = Feed(name, metric, window, cap)
        return self._feeds[place]

    # State

    def header(self) -> dict[str, Any]:
        """How far each feed is: goes with every part of the state."""
        return {"clocks": [[*place, feed.clock] for place, feed in self._feeds.items()]}

    def stored(self, *, all_of_it: bool) -> Iterator[tuple[str, pa.RecordBatch]]:
        """What to keep, all or what changed, as batches with the name of who they belong to."""
        for (metric, window), feed in self._feeds.items():
            for part, batch in feed.stored(all_of_it=all_of_it):
                yield f"feed|{metric}|{window}|{part}", batch
        for name, watcher in self.watchers.items():
            for part, batch in watcher.stored(all_of_it=all_of_it):
                state = watcher.rule.learnt if part == "judge" else ""
                yield f"rule|{name}|{state}|{part}", batch

    def begin_restore(self, header: dict[str, Any]) -> None:
        """Set the clocks; `restore` follows with each part in the order of storing."""
        for metric, window, clock in header.get("clocks", ()):
            if (metric, window) in self._feeds:
                self._feeds[metric, window].clock = clock

    def restore(self, name: str, batch: pa.RecordBatch) -> None:
        """Put a part back; what belongs to a rule that was changed or is gone counts no more."""
        owner, first, second, part = name.split("|")
        if owner == "feed":
            if (first, second) in self._feeds:
                self._feeds[first, second].restore(part, batch)
        elif first not in self.watchers:
            if part == "alerts":
                self._orphans.setdefault(first, {}).update(tracked_of(batch))
        elif part == "alerts" or second == self.watchers[first].rule.learnt:
            self.watchers[first].restore(part, batch)

    def _end_orphans(self, topic: str, now: int) -> Iterator[Alert]:
        """Alerts of rules that the catalogue has no longer end with the first look at a clock."""
        orphans, self._orphans = self._orphans, {}
        if now > 0:
            for alerts in orphans.values():
                kept = [tracked for tracked in alerts.values() if tracked is not None]
                yield from ended(kept, time_of(now))


def _others(steps: dict[Place, Step], window: str) -> Any:
    """The windows of another metric at the same moment; none when it has none."""

    def rows(metric: str) -> Closed:
        step = steps.get((metric, window))
        return EMPTY if step is None else step.rows

    return rows
