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
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.arrays import Texts
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.feed import FORGET, Step
from nilo_stream_processors.engine.detect.grouped import rows_of, sources_of
from nilo_stream_processors.engine.detect.keyed import Keyed
from nilo_stream_processors.engine.detect.mixes import Counts, Unlike, joined, shares, unlike
from nilo_stream_processors.engine.detect.verdicts import Facts, Stored, Verdicts
from nilo_stream_processors.engine.detect.wording import told
from nilo_stream_processors.engine.grouped import projected, texts

# How far beyond its usual values the score must lie, and how large the change must be.
THRESHOLD, LEAST_EFFECT = 5.0, 0.1
# A mix is judged when so many windows were seen, so many events of the days before, and so many
# now. The last three windows are looked at together as well as the last one alone.
WARM_UP, LEAST_SEEN, LEAST_NOW, RECENT = 60, 500, 20, 3
# The days (of UTC) whose mix is the usual one: today and the week before.
DAYS, DAY = 8, 86_400_000_000
# The share of the newest window in what the score usually is.
_LEARNING = 0.02
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
        self._mixes, self._today = Keyed(), 0

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """Compare the mix of the last windows with that of the days before."""
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
        breach = np.array([_breaches(facts) for facts in judged.values()], np.bool_)

        def facts(place: int) -> Facts:
            sources = sources_of(rows, rows_of(keys, names[place]))
            return replace(judged[names[place]], sources=sources)

        values = np.array([each.value for each in judged.values()], np.float64)
        return Verdicts(texts(names), breach, ~breach, facts, values)

    def _look(self, key: str, counts: Counts, end: int) -> Facts | None:
        """Compare, and learn; None while too little was seen."""
        held = self._mixes.values.setdefault(key, _blank())
        usual = self._golden or joined(held["days"].values())
        held["recent"] = [*held["recent"], counts][-RECENT:]
        mix, found = _most_unlike(held["recent"], usual)
        facts = None
        if sum(usual.values()) >= LEAST_SEEN and sum(mix.values()) >= LEAST_NOW:
            surprise = _surprise(held, found.score)
            if held["windows"] >= WARM_UP or self._golden:
                facts = self._facts(surprise, found, mix, usual)
        today = str((end - 1) // DAY)
        held["days"][today] = joined([held["days"].get(today, {}), counts])
        held |= {"windows": held["windows"] + 1, "last": end}
        self._mixes.changed(key)
        return facts

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
            f"usual deviation away (bound: {THRESHOLD:g})",
            value=surprise,
            threshold=THRESHOLD,
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


def _blank() -> dict[str, Any]:
    return {"windows": 0, "recent": [], "days": {}, "mean": 0.0, "variance": 1.0, "last": 0}


def _most_unlike(recent: list[Counts], usual: Counts) -> tuple[Counts, Unlike]:
    """The newest window or the last ones together, whichever is more unlike the usual mix."""
    mixes = [recent[-1], joined(recent)]
    return max(((mix, unlike(mix, usual)) for mix in mixes), key=lambda each: each[1].score)


def _surprise(held: dict[str, Any], score: float) -> float:
    """How far a score is beyond what it usually is; a usual one is learnt from."""
    surprise: float = (score - held["mean"]) / math.sqrt(max(held["variance"], 1.0))
    if surprise < THRESHOLD:
        held["variance"] += _LEARNING * ((score - held["mean"]) ** 2 - held["variance"])
        held["mean"] += _LEARNING * (score - held["mean"])
    return surprise


def _breaches(facts: Facts) -> bool:
    surprise = facts.value or 0.0
    return surprise >= THRESHOLD and facts.figures["effect"] >= LEAST_EFFECT
