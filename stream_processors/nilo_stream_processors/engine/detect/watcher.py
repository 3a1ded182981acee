"""A rule at work: what it says of each window, and the lives of its alerts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from nilo_schemas.alerts import Alert, AlertState
from nilo_schemas.catalogue import Metric
from nilo_schemas.results import SourceRange
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.feed import Feed, Step
from nilo_stream_processors.engine.detect.grouped import spanned
from nilo_stream_processors.engine.detect.life import Life, Timing, Verdict
from nilo_stream_processors.engine.detect.transition import Found, transition
from nilo_stream_processors.engine.detect.verdicts import Facts, Judge, Verdicts

# A rule has so many alerts at most in one partition: who gets more is told nothing by them.
MOST_ALERTS = 1000
_ALIVE = frozenset({AlertState.PENDING, AlertState.FIRING, AlertState.NO_DATA})


@dataclass
class Tracked:
    """The life of one alert, where its evidence lies, and what was said of it last."""

    life: Life = field(default_factory=Life)
    sources: list[SourceRange] = field(default_factory=list)
    alert: Alert | None = None

    def to_json(self) -> str:
        """All of it as JSON."""
        alert = self.alert and json.loads(self.alert.model_dump_json())
        sources = [json.loads(source.model_dump_json()) for source in self.sources]
        return json.dumps({"life": self.life.to_json(), "sources": sources, "alert": alert})

    @classmethod
    def from_json(cls, text: str) -> Tracked:
        """What `to_json` told of."""
        values = json.loads(text)
        return cls(
            Life.from_json(values["life"]),
            [SourceRange.model_validate(each) for each in values["sources"]],
            values["alert"] and Alert.model_validate_json(json.dumps(values["alert"])),
        )


class Watcher:
    """A rule, its judge, and its alerts by key."""

    def __init__(self, rule: Rule, metric: Metric, feed: Feed, judge: Judge) -> None:
        self.rule, self.feed, self.judge = rule, feed, judge
        self._metric = metric
        length = feed.window.hop
        self._timing = Timing(rule.windows_for(length), rule.windows_kept(length), feed.hop)
        # Sessions come when they come: one that does not come says nothing of silence.
        self._absent_is_clear = judge.absent_is_clear or feed.window.kind == "session"
        self.alerts: dict[str, Tracked] = {}
        self._changed: set[str] = set()
        self.capped = 0
        # The fingerprints of alerts of which nothing need be known any more, until they are taken.
        self.forgotten: list[str] = []

    def due(self) -> int | None:
        """The next end of a window at which it must look though no window comes; None: never."""
        if self.alerts and self.rule.kind != "no_data":
            return self.feed.clock + self.feed.hop
        return self.judge.due()

    def look(self, step: Step, others: Callable[[str], Closed]) -> Iterator[Alert]:
        """What the windows of a moment make of the alerts, in the order of their keys."""
        verdicts = self.judge.judge(step, others)
        places = self._places(verdicts)
        for key in sorted({*places, *self.alerts}):
            place = places.get(key)
            if key not in self.alerts and not self._begins(key):
                continue
            yield from self._observe(key, step, verdicts, place)

    def _places(self, verdicts: Verdicts) -> dict[str, int]:
        """Where the keys stand that matter: those in breach, and those with an alert."""
        keys = verdicts.keys
        found = {keys[place]: place for place in np.flatnonzero(verdicts.breach).tolist()}
        if self.alerts:
            held = self.alerts
            found |= {key: place for place, key in enumerate(keys.tolist()) if key in held}
        return found

    def _begins(self, key: str) -> bool:
        if len(self.alerts) >= MOST_ALERTS:
            self.capped += 1
            return False
        self.alerts[key] = Tracked()
        return True

    def _observe(
        self, key: str, step: Step, verdicts: Verdicts, place: int | None
    ) -> Iterator[Alert]:
        tracked = self.alerts[key]
        verdict = self._verdict(verdicts, place)
        before = copy(tracked.life)
        change = tracked.life.observe(verdict, self._start(step, key), step.end, self._timing)
        if change or (verdict is Verdict.BREACH and tracked.life.state is AlertState.PENDING):
            facts = Facts("") if place is None else verdicts.facts(place)
            if change and change.previous in (AlertState.INACTIVE, AlertState.RESOLVED):
                tracked.sources = []
            if verdict is Verdict.BREACH:
                tracked.sources = spanned([*tracked.sources, *facts.sources])
            if change:
                labels = self.judge.labels
                found = Found(self.rule, self._metric, self.feed.window, labels, key)
                tracked.alert = transition(found, change, tracked, facts, step.end)
                yield tracked.alert
        if tracked.life.is_over(step.end, self.feed.hop):
            del self.alerts[key]
            self._changed.add(key)
            if tracked.alert:
                self.forgotten.append(tracked.alert.fingerprint)
        elif tracked.life != before:
            self._changed.add(key)

    def _verdict(self, verdicts: Verdicts, place: int | None) -> Verdict:
        if place is None:
            return Verdict.CLEAR if self._absent_is_clear else Verdict.ABSENT
        if verdicts.breach[place]:
            return Verdict.BREACH
        return Verdict.CLEAR if verdicts.clear[place] else Verdict.BETWEEN

    def _start(self, step: Step, key: str) -> int:
        if self.feed.window.kind != "session":
            return step.end - self.feed.length
        mine = np.flatnonzero(step.rows.series == key)
        return int(step.rows.start[mine[0]]) if len(mine) else step.end

    # State

    def stored(self, *, all_of_it: bool) -> Iterator[tuple[str, pa.RecordBatch]]:
        """What to keep of the judge and of the alerts; empty text for an alert that is gone."""
        for batch in self.judge.stored(all_of_it=all_of_it):
            yield "judge", batch
        keys = sorted(self.alerts if all_of_it else self._changed)
        self._changed.clear()
        if keys:
            told = [self.alerts[key].to_json() if key in self.alerts else "" for key in keys]
            yield "alerts", pa.RecordBatch.from_pydict({"key": keys, "tracked": told})

    def restore(self, part: str, batch: pa.RecordBatch) -> None:
        """Put back what was stored, in the order of storing."""
        if part == "judge":
            self.judge.restore(batch)
        else:
            self.alerts.update(tracked_of(batch))
            for key in [key for key, tracked in self.alerts.items() if tracked is None]:
                del self.alerts[key]


def tracked_of(batch: pa.RecordBatch) -> dict[str, Any]:
    """The alerts of a stored batch by key; None for one that is gone."""
    told = zip(batch["key"].to_pylist(), batch["tracked"].to_pylist(), strict=True)
    return {key: Tracked.from_json(text) if text else None for key, text in told}


def ended(alerts: Iterable[Tracked], time: Any) -> Iterator[Alert]:
    """The last transitions of alerts whose rule is no longer in the catalogue."""
    for tracked in alerts:
        alert = tracked.alert
        if alert is None or alert.state not in _ALIVE:
            continue
        pending = alert.state is AlertState.PENDING
        state = AlertState.INACTIVE if pending else AlertState.RESOLVED
        revision = alert.revision + 1
        yield alert.model_copy(
            update={
                "id": f"{alert.id.rsplit('-', 1)[0]}-{revision}",
                "state": state,
                "previous": alert.state,
                "revision": revision,
                "time": time,
                "ends_at": time,
                "reason": "the catalogue has this rule no longer",
                "samples": [],
            }
        )
