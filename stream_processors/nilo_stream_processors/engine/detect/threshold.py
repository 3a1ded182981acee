"""Rules that hold a window against a bound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nilo_schemas.catalogue import Metric
from nilo_schemas.rule_checks import bound_of
from nilo_schemas.rules import Rule, parse_condition
from nilo_stream_processors.engine.arrays import Floats
from nilo_stream_processors.engine.detect.closed import ZERO_WHEN_ABSENT, Closed
from nilo_stream_processors.engine.detect.feed import Feed, Step
from nilo_stream_processors.engine.detect.verdicts import (
    COMPARE,
    Facts,
    Stateless,
    Verdicts,
    compared,
    number,
)
from nilo_stream_processors.engine.detect.wording import told

UNITLESS = frozenset({"count", "errors", "distinct"})


def unit_of(aggregate: str, metric: Metric) -> str:
    """The unit of an aggregate of a metric."""
    if aggregate in UNITLESS:
        return ""
    return {"rate": "per second", "error_ratio": "share"}.get(aggregate, metric.unit)


class Threshold(Stateless):
    """`p95 > 2s`: an aggregate against a bound; with `clear` it ends at another one."""

    def __init__(self, rule: Rule, metric: Metric, feed: Feed) -> None:
        condition = rule.condition()
        self.labels, self._feed = metric.dimensions, feed
        self._aggregate, self._operator = condition.aggregate, condition.operator
        self._bound, self._unit = bound_of(condition, metric), unit_of(condition.aggregate, metric)
        self._least = rule.min_count
        clear = parse_condition(rule.clear) if rule.clear else None
        self._clear = clear and (clear.operator, bound_of(clear, metric))
        zero = self._aggregate in ZERO_WHEN_ABSENT
        holds_at_zero = bool(COMPARE[self._operator](0.0, self._bound))
        self._fills = zero and holds_at_zero
        self.absent_is_clear = zero and not holds_at_zero

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """Compare the windows; where no events are too few, series without a window as well."""
        rows = step.rows
        values, keys = rows.values(self._aggregate), rows.series
        values = np.where(rows.count >= self._least, values, np.nan)
        if self._fills:
            missing = self._feed.absent(step)
            values = np.concatenate([values, np.zeros(len(missing))])
            keys = np.concatenate([keys, self._feed.texts(missing)])
        breach = compared(self._operator, values, self._bound)
        kept = ~np.isnan(values)
        clear = ~breach if self._clear is None else compared(self._clear[0], values, self._clear[1])
        places = np.flatnonzero(kept)
        return Verdicts(
            keys[kept],
            breach[kept],
            clear[kept],
            lambda place: self._facts(rows, values, int(places[place])),
            values[kept],
        )

    def due(self) -> int | None:
        """Too few events may be none at all."""
        return self._feed.next_absent() if self._fills else None

    def _facts(self, rows: Closed, values: Floats, row: int) -> Facts:
        value, there = float(values[row]), row < len(rows)
        bound = f"(bound: {self._operator} {told(self._bound, self._unit)})"
        return Facts(
            f"{self._aggregate} {told(value, self._unit)} {bound}",
            self._unit,
            value=number(value),
            threshold=self._bound,
            figures={"count": float(rows.count[row])} if there else {},
            sources=rows.sources(row) if there else [],
        )
