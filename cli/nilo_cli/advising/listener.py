"""Listens in on a rule for days: how near its series came to the bound, hour by hour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nilo_cli.rerun.asking import Asking
from nilo_stream_processors.engine.arrays import Floats, Texts
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.feed import Step
from nilo_stream_processors.engine.detect.verdicts import Verdicts

_HOUR = 3_600_000_000


class Peak(NamedTuple):
    """The value that came nearest to the bound, of whom, in windows that ended when (µs)."""

    value: float
    key: str
    end: int


@dataclass
class Listener(Asking):
    """A judge in front of another one, which it asks.

    Args:
        judged_by: the other one.
        needed: windows in a row that count: the least extreme of them does.
        sign: 1 where the rule looks for large values, -1 for small ones.
    """

    needed: int
    sign: int
    keys: set[str] = field(default_factory=set)
    judged: int = 0
    breaches: int = 0
    threshold: float | None = None
    unit: str = ""
    hours: dict[int, Peak] = field(default_factory=dict)
    _recent: dict[str, list[float]] = field(default_factory=dict)

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """What the other one says."""
        verdicts = self.judged_by.judge(step, others)
        if len(verdicts.keys):
            self._note(verdicts, step.end)
        return verdicts

    def nearest(self) -> Peak | None:
        """The value of all time that came nearest to the bound."""
        return max(self.hours.values(), key=lambda peak: self.sign * peak.value, default=None)

    def once_a_day(self, days: float) -> float | None:
        """The bound that hours would have passed about once a day; None when too little is known.

        That is the value of the hour that ranks as high as there are days.
        """
        ranked = sorted((self.sign * peak.value for peak in self.hours.values()), reverse=True)
        place = max(1, round(days))
        return self.sign * ranked[place - 1] if len(ranked) >= place else None

    def _note(self, verdicts: Verdicts, end: int) -> None:
        self.judged += len(verdicts.keys)
        self.breaches += int(verdicts.breach.sum())
        self.keys.update(verdicts.keys.tolist())
        if self.threshold is None:
            facts = verdicts.facts(0)
            self.threshold, self.unit = facts.threshold, "" if facts.score else facts.unit
        held = self._held(verdicts.keys, self.sign * verdicts.values)
        place = int(np.argmax(held))
        best, hour = float(held[place]), end // _HOUR
        before = self.hours.get(hour)
        if np.isfinite(best) and (before is None or best > self.sign * before.value):
            self.hours[hour] = Peak(self.sign * best, verdicts.keys[place], end)

    def _held(self, keys: Texts, values: Floats) -> Floats:
        """The value that each series has kept up in as many windows as must hold."""
        if self.needed == 1:
            return np.nan_to_num(values, nan=-np.inf, posinf=-np.inf)
        found = np.full(len(values), -np.inf)
        for place, (key, value) in enumerate(zip(keys.tolist(), values.tolist(), strict=True)):
            recent = [*self._recent.get(key, ()), value][-self.needed :]
            self._recent[key] = recent
            if len(recent) == self.needed:
                found[place] = min(recent)
        return found
