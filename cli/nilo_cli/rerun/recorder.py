"""Listens in on a rule: what it says of one series, window by window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from nilo_cli.rerun.asking import Asking
from nilo_stream_processors.engine.arrays import Ints
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.drift import Drift
from nilo_stream_processors.engine.detect.feed import Step
from nilo_stream_processors.engine.detect.life import Verdict
from nilo_stream_processors.engine.detect.verdicts import Facts, Verdicts
from nilo_stream_processors.engine.grouped import projected

KEPT = 60  # looks, the newest


@dataclass(frozen=True)
class Look:
    """What a rule said of a series when windows ended.

    Attributes:
        end: of the windows, microseconds since 1970.
        verdict: None when it could not tell though there was a window.
        count: events in the windows of the series; 0 without a window.
        facts: the figures; None when it said nothing.
        seen: windows and events that were seen before, where the rule learns a mix.
    """

    end: int
    verdict: Verdict | None
    count: int
    facts: Facts | None
    seen: tuple[int, float] | None = None


@dataclass
class Recorder(Asking):
    """A judge in front of another one, which it asks; it keeps the last looks at one series.

    Args:
        judged_by: the other one.
        dimensions: those of its windows.
        key: the series.
        since: windows that end before are not noted; microseconds since 1970.
    """

    dimensions: list[str]
    key: str
    since: int = 0
    looks: deque[Look] = field(default_factory=lambda: deque(maxlen=KEPT))

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """What the other one says."""
        verdicts = self.judged_by.judge(step, others)
        if step.end >= self.since:
            self.looks.append(self._look(step, verdicts))
        return verdicts

    def _look(self, step: Step, verdicts: Verdicts) -> Look:
        rows = self._rows(step)
        count = int(step.rows.count[rows].sum())
        found = np.flatnonzero(verdicts.keys == self.key)
        seen = self.judged_by.seen(self.key) if isinstance(self.judged_by, Drift) else None
        if not len(found):
            verdict = None if len(rows) else Verdict.ABSENT
            return Look(step.end, verdict, count, None, seen)
        place = int(found[0])
        calm = Verdict.CLEAR if verdicts.clear[place] else Verdict.BETWEEN
        verdict = Verdict.BREACH if verdicts.breach[place] else calm
        return Look(step.end, verdict, count, verdicts.facts(place), seen)

    def _rows(self, step: Step) -> Ints:
        return np.flatnonzero(projected(step.rows.series, self.dimensions, self.labels) == self.key)
