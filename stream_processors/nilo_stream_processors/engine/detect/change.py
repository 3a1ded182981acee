"""Rules on how a series changes, and on how fast it uses up its errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nilo_schemas.catalogue import Metric
from nilo_schemas.results import SourceRange
from nilo_schemas.rule_checks import BURN_BUCKETS
from nilo_schemas.rules import Rule
from nilo_schemas.windows import window_length
from nilo_stream_processors.engine.arrays import Floats, Ints
from nilo_stream_processors.engine.detect.by_slot import BySlot
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.feed import Feed, Step
from nilo_stream_processors.engine.detect.threshold import unit_of
from nilo_stream_processors.engine.detect.verdicts import Facts, Verdicts, compared, number
from nilo_stream_processors.engine.detect.wording import span, told
from nilo_stream_processors.engine.plan import microseconds

# A twelfth of the long window, as the SRE workbook has it.
_SHORT_BUCKETS = BURN_BUCKETS // 12


class Change(BySlot):
    """`mean > 50%` over an hour: a window against the one that ended so long before it."""

    absent_is_clear = False

    def __init__(self, rule: Rule, metric: Metric, feed: Feed) -> None:
        condition = rule.condition()
        self.labels = metric.dimensions
        self._aggregate, self._operator = condition.aggregate, condition.operator
        self._bound, self._unit = condition.number / 100, unit_of(condition.aggregate, metric)
        self._over, self._least = microseconds(window_length(rule.over or "")), rule.min_count
        self._places, self._hop = self._over // feed.hop + 1, feed.hop
        # By series and place: the value, and the end of the window that it is of.
        super().__init__(feed, {"value": (self._places, float), "end": (self._places, int)})

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """Compare the windows with those of then; one that had 0 has no share to change by."""
        self.grow()
        rows, slots = step.rows, step.slots
        values = np.where(rows.count >= self._least, rows.values(self._aggregate), np.nan)
        past = self._then(slots, step.end - self._over)
        held = ~np.isnan(values)
        kept = np.flatnonzero(held & ~np.isnan(past) & (past != 0))
        self._note(slots[held], values[held], step.end)
        shares = values[kept] / past[kept] - 1
        breach = compared(self._operator, shares, self._bound)

        def facts(place: int) -> Facts:
            row = int(kept[place])
            return self._facts(rows, row, float(values[row]), float(past[row]))

        return Verdicts(rows.series[kept], breach, ~breach, facts, shares)

    def _then(self, slots: Ints, end: int) -> Floats:
        place = end // self._hop % self._places
        known = self.arrays["end"][slots, place] == end
        found: Floats = np.where(known, self.arrays["value"][slots, place], np.nan)
        return found

    def _note(self, slots: Ints, values: Floats, end: int) -> None:
        place = end // self._hop % self._places
        self.arrays["value"][slots, place], self.arrays["end"][slots, place] = values, end
        self.dirty[slots] = True

    def _facts(self, rows: Closed, row: int, value: float, past: float) -> Facts:
        now, before, share = told(value, self._unit), told(past, self._unit), value / past - 1
        return Facts(
            f"{self._aggregate} {now} against {before} {span(self._over)} before: "
            f"{told(share, 'share')} (bound: {self._operator} {told(self._bound, 'share')})",
            "share",
            value=number(share),
            threshold=self._bound,
            baseline=number(past),
            figures={"now": value, "then": past, "count": float(rows.count[row])},
            sources=rows.sources(row),
        )


class BurnRate(BySlot):
    """`14.4 over 1h`: errors so many times as fast as the objective allows, long and lately.

    Multiwindow, multi-burn-rate alerts of Google's SRE workbook, chapter 5: the long window says
    that it matters, the short one, a twelfth of it, that it goes on.
    """

    absent_is_clear = True

    def __init__(self, rule: Rule, metric: Metric, feed: Feed) -> None:
        burn = rule.burn()
        self.labels, self._factor, self._allowed = metric.dimensions, burn.factor, rule.allowed()
        self._bucket = microseconds(burn.over) // BURN_BUCKETS
        self._over, self._least = microseconds(burn.over), rule.min_count
        kinds = dict.fromkeys(("errors", "count"), (BURN_BUCKETS, int))
        # Which stretch of time the buckets of a series reach up to.
        super().__init__(feed, {**kinds, "newest": (1, int)})

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """Add up the windows, and compare what all known series have burnt."""
        self.grow()
        known, bucket = step.known, (step.end - 1) // self._bucket
        self._move_on(known, bucket)
        place, rows = bucket % BURN_BUCKETS, step.rows
        self.arrays["errors"][step.slots, place] += rows.values("errors").astype(np.int64)
        self.arrays["count"][step.slots, place] += rows.count
        self.dirty[step.slots] = True
        recent = (bucket - np.arange(_SHORT_BUCKETS)) % BURN_BUCKETS
        long = self._rates(known, np.arange(BURN_BUCKETS))
        short = self._rates(known, recent)
        enough = self.arrays["count"][known].sum(axis=1) >= self._least
        breach = (long >= self._factor) & (short >= self._factor) & enough
        row_of = dict(zip(step.slots.tolist(), range(len(rows)), strict=True))

        def facts(place: int) -> Facts:
            row = row_of.get(int(known[place]))
            sources = [] if row is None else rows.sources(row)
            return self._facts(float(long[place]), float(short[place]), int(known[place]), sources)

        return Verdicts(self._feed.texts(known), breach, ~breach, facts, long)

    def _move_on(self, known: Ints, bucket: int) -> None:
        """Empty the buckets that time has passed over since a series was looked at last."""
        passed = np.minimum(bucket - self.arrays["newest"][known, 0], BURN_BUCKETS)
        for back in range(int(passed.max(initial=0))):
            slots, place = known[passed > back], (bucket - back) % BURN_BUCKETS
            self.arrays["errors"][slots, place] = self.arrays["count"][slots, place] = 0
        self.arrays["newest"][known, 0] = bucket

    def _rates(self, known: Ints, places: Ints) -> Floats:
        errors, count = (self.arrays[name][known][:, places].sum(axis=1) for name in _SUMS)
        rates: Floats = errors / np.maximum(count, 1) / self._allowed
        return rates

    def _facts(self, long: float, short: float, slot: int, sources: list[SourceRange]) -> Facts:
        sums = {f"{name}_long": float(self.arrays[name][slot].sum()) for name in _SUMS}
        return Facts(
            f"errors come {long:.4g} times as fast as the objective allows over "
            f"{span(self._over)}, and {short:.4g} times over {span(self._over // 12)} "
            f"(bound: {self._factor:g})",
            value=long,
            threshold=self._factor,
            figures={"long": long, "short": short, "allowed": self._allowed, **sums},
            sources=sources,
        )


_SUMS = ("errors", "count")
