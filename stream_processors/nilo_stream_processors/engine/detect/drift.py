"""Rules on the mix of labels: has the share of the classes changed?

Labels of real programs come in bursts, which makes a test's statistic too large even when nothing
has changed; so it is held against what it usually is for the series.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from nilo_schemas.catalogue import Metric
from nilo_schemas.rule_checks import rule_window
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.arrays import Texts
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.feed import FORGET, Step
from nilo_stream_processors.engine.detect.grouped import rows_of, sources_of
from nilo_stream_processors.engine.detect.keyed import Keyed
from nilo_stream_processors.engine.detect.mixes import Counts, Unlike, joined, most_unlike, shares
from nilo_stream_processors.engine.detect.verdicts import Facts, Stored, Verdicts
from nilo_stream_processors.engine.detect.wording import told
from nilo_stream_processors.engine.grouped import projected, texts
from nilo_stream_processors.engine.plan import microseconds

# A mix that does not change is said to have changed once in so many days, and must have by so much.
ONCE_IN, LEAST_EFFECT = 20, 0.1
# A mix is judged when so many windows were seen, so many events before, and so many now: in the
# last window, or in the last two or three together.
WARM_UP, LEAST_SEEN, LEAST_NOW, RECENT = 60, 300, 20, 3
# The usual mix is that of the windows before, which count less and less: the last ones as much as
# so many full ones. An unusual one is not learnt from; when it has been there for so long, it is
# the usual one from then on.
MEMORY, ACCEPTED_AFTER = 48, 36
# The other usual mix is that of these days (of UTC), today and the week before: it shows what
# changes slowly.
DAYS, DAY = 8, 86_400_000_000
# What the square of the score is by chance alone, the largest score that is learnt from as it is,
# and the share of the newest window in what the square usually is, once there were many.
_BY_CHANCE, _USUAL_SCORE, _LEARNING = 1.3, 3.0, 0.004
# Nothing is unusual: for how many windows it has been so, and their mix.
_ACCEPTED: dict[str, Any] = {"unusual": 0, "since": {}}
# A golden mix counts as one of so many events: only the chance in the new one matters then.
_GOLDEN_EVENTS = 1e6


class Drift:
    """The mix of one dimension, for each combination of the others."""

    absent_is_clear = False

    def __init__(self, rule: Rule, metric: Metric) -> None:
        self._label = rule.drift or ""
        self.labels = [name for name in metric.dimensions if name != self._label]
        golden = rule.against and {label: _GOLDEN_EVENTS * s for label, s in rule.against.items()}
        self._dimensions, self._golden = metric.dimensions, golden
        self._bound = threshold(microseconds(rule_window(rule, metric).hop))
        self._mixes, self._today = Keyed(), 0

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """Compare the mix of the last windows with those of the hours and days before."""
        rows = step.rows
        keys = projected(rows.series, self._dimensions, self.labels)
        labels = projected(rows.series, self._dimensions, [self._label])
        now: dict[str, Counts] = {}
        for key, label, count in zip(
            keys.tolist(), labels.tolist(), rows.count.tolist(), strict=True
        ):
            now.setdefault(key, {})[label] = float(count)
        self._forget_old(step.end)
        found = {key: self._look(key, counts, step.end) for key, counts in sorted(now.items())}
        judged = {key: facts for key, facts in found.items() if facts is not None}
        names = list(judged)
        breach = np.array([self._breaches(facts) for facts in judged.values()], np.bool_)

        def facts(place: int) -> Facts:
            sources = sources_of(rows, rows_of(keys, names[place]))
            return replace(judged[names[place]], sources=sources)

        values = np.array([each.value for each in judged.values()], np.float64)
        return Verdicts(texts(names), breach, ~breach, facts, values)

    def _look(self, key: str, counts: Counts, end: int) -> Facts | None:
        """Compare, and learn; None while too little was seen."""
        held = self._mixes.values.setdefault(key, _blank())
        held["recent"] = [*held["recent"], counts][-RECENT - 1 :]
        facts = None
        told = (self._held_against(held, name, usual) for name, usual in self._usual(held))
        looks = [each for each in told if each is not None]
        if looks and (held["windows"] >= WARM_UP or self._golden):
            facts = max(looks, key=lambda each: (self._breaches(each), each.value))
        unusual = facts is not None and self._breaches(facts)
        _learn(held, counts, end, unusual=unusual)
        self._mixes.changed(key)
        return facts

    def _usual(self, held: dict[str, Any]) -> list[tuple[str, Counts]]:
        """The mixes that the last windows are held against."""
        if self._golden:
            return [("golden", self._golden)]
        return [("hours", held["hours"]), ("days", joined(held["days"].values()))]

    def _held_against(self, held: dict[str, Any], name: str, usual: Counts) -> Facts | None:
        """What the last windows are beside a usual mix; None while too little was seen."""
        recent = held["recent"][-RECENT:]
        mixes = [joined(recent[first:]) for first in range(len(recent))]
        mixes = [mix for mix in mixes if sum(mix.values()) >= LEAST_NOW]
        if sum(usual.values()) < LEAST_SEEN or not mixes:
            return None
        mix, found = most_unlike(mixes, usual)
        spread = held["spread"].get(name, 1.0)
        surprise = found.score / math.sqrt(spread)
        if surprise < self._bound:
            square = min(found.score, _USUAL_SCORE) ** 2 / _BY_CHANCE
            spread += max(_LEARNING, 1 / (held["windows"] + 1)) * (square - spread)
            held["spread"][name] = max(spread, 1.0)
        return self._facts(surprise, found, mix, usual)

    def _breaches(self, facts: Facts) -> bool:
        surprise = facts.value or 0.0
        return surprise >= self._bound and facts.figures["effect"] >= LEAST_EFFECT

    def _facts(self, surprise: float, found: Unlike, mix: Counts, usual: Counts) -> Facts:
        now, then = shares(mix), shares(usual)
        moved = sorted(
            {*now, *then}, key=lambda label: -abs(now.get(label, 0.0) - then.get(label, 0.0))
        )
        changes = ", ".join(
            f"{label} {told(then.get(label, 0.0), 'share')} -> {told(now.get(label, 0.0), 'share')}"
            for label in moved[:3]
        )
        return Facts(
            f"the mix of {self._label} has changed: {changes}; it is {surprise:.3g} times its "
            f"usual deviation away (bound: {self._bound:.3g})",
            value=surprise,
            threshold=self._bound,
            figures={
                **{f"now {label}": now.get(label, 0.0) for label in moved[:3]},
                **{f"usual {label}": then.get(label, 0.0) for label in moved[:3]},
                "g_score": found.score,
                "effect": found.effect,
            },
        )

    def _forget_old(self, end: int) -> None:
        """Once a day: the days before the week, and mixes of which nothing has come since."""
        today = (end - 1) // DAY
        if today == self._today:
            return
        self._today = today
        for key, held in list(self._mixes.values.items()):
            if end - held["last"] >= FORGET:
                self._mixes.drop(key)
            else:
                days = {day: mix for day, mix in held["days"].items() if int(day) > today - DAYS}
                held["days"] = days

    def seen(self, key: str) -> tuple[int, float]:
        """Of a mix, how many windows were seen, and how many events in the days that count."""
        held = self._mixes.values.get(key, _blank())
        return held["windows"], sum(joined(held["days"].values()).values())

    def due(self) -> int | None:
        """It says nothing without windows."""
        return None

    def forget(self, series: Texts) -> None:
        """A mix is forgotten by its own time."""

    def stored(self, *, all_of_it: bool) -> Stored:
        """The mixes."""
        return self._mixes.stored(all_of_it=all_of_it)

    def restore(self, batch: pa.RecordBatch) -> None:
        """Put mixes back."""
        self._mixes.restore(batch)


def threshold(hop: int) -> float:
    """How many deviations are unusual, where windows begin every so many microseconds.

    The universal threshold for as many looks as there are in ONCE_IN days (Donoho & Johnstone,
    Biometrika 81, 1994).
    """
    return math.sqrt(2 * math.log(ONCE_IN * DAY / hop))


def _blank() -> dict[str, Any]:
    return {
        "windows": 0,
        "last": 0,
        "recent": [],
        "hours": {},
        "days": {},
        "spread": {},
    } | _ACCEPTED


def _learn(held: dict[str, Any], counts: Counts, end: int, *, unusual: bool) -> None:
    """Add a window to the usual mixes: to that of the days at once, to the other when it is old."""
    today = str((end - 1) // DAY)
    held |= {"windows": held["windows"] + 1, "last": end}
    held["days"][today] = joined([held["days"].get(today, {}), counts])
    if unusual:
        held["unusual"] += 1
        held["since"] = joined([held["since"], counts])
        if held["unusual"] >= ACCEPTED_AFTER:
            held |= {"hours": held["since"], "days": {today: held["since"]}, **_ACCEPTED}
        return
    held |= _ACCEPTED
    if len(held["recent"]) > RECENT:
        kept = {label: count * (1 - 1 / MEMORY) for label, count in held["hours"].items()}
        held["hours"] = joined([kept, held["recent"][0]])
