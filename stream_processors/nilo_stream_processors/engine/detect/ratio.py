"""Rules on the ratio of two metrics: `count / llm.calls.count > 10%`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nilo_schemas.catalogue import Metric
from nilo_schemas.results import SourceRange
from nilo_schemas.rule_checks import bound_of
from nilo_schemas.rules import Rule, parse_condition
from nilo_stream_processors.engine.arrays import Bools, Floats
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.feed import Step
from nilo_stream_processors.engine.detect.grouped import rows_of, sources_of, summed
from nilo_stream_processors.engine.detect.verdicts import Facts, Stateless, Verdicts, compared
from nilo_stream_processors.engine.detect.wording import told
from nilo_stream_processors.engine.grouped import projected, texts


class Ratio(Stateless):
    """What adds up in this metric over what adds up in another, by the labels that both have."""

    absent_is_clear = True

    def __init__(self, rule: Rule, metric: Metric, other: Metric) -> None:
        condition = rule.condition()
        self.labels = kept_by_ratio(rule, metric, other)
        self._dimensions = metric.dimensions, other.dimensions
        self._other, self._bound = condition.other or "", bound_of(condition, metric)
        self._aggregates = condition.aggregate, condition.divisor or ""
        self._operator, self._least = condition.operator, rule.min_count
        clear = parse_condition(rule.clear) if rule.clear else None
        self._clear = clear and (clear.operator, bound_of(clear, metric))
        self._names = (f"{rule.metric}.{self._aggregates[0]}", f"{self._other}.{condition.divisor}")

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """Compare the ratio of each combination of labels that the divisor has."""
        parts = step.rows, others(self._other)
        keys = [
            projected(rows.series, dimensions, self.labels)
            for rows, dimensions in zip(parts, self._dimensions, strict=True)
        ]
        over, under = (
            summed(names, rows.values(aggregate))
            for names, rows, aggregate in zip(keys, parts, self._aggregates, strict=True)
        )
        names = sorted(key for key, value in under.items() if value >= self._least and value > 0)
        values = np.array([over.get(key, 0.0) / under[key] for key in names], np.float64)
        breach = compared(self._operator, values, self._bound)

        def facts(place: int) -> Facts:
            key = names[place]
            sources = [
                source
                for rows, mine in zip(parts, keys, strict=True)
                for source in sources_of(rows, rows_of(mine, key))
            ]
            return self._facts(over.get(key, 0.0), under[key], sources)

        return Verdicts(texts(names), breach, self._is_clear(values, breach), facts, values)

    def _is_clear(self, values: Floats, breach: Bools) -> Bools:
        return ~breach if self._clear is None else compared(self._clear[0], values, self._clear[1])

    def _facts(self, over: float, under: float, sources: list[SourceRange]) -> Facts:
        value = over / under
        return Facts(
            f"{told(over)} {self._names[0]} / {told(under)} {self._names[1]} = "
            f"{told(value, 'share')} (bound: {self._operator} {told(self._bound, 'share')})",
            "share",
            value=value,
            threshold=self._bound,
            figures=dict(zip(self._names, (over, under), strict=True)),
            sources=sources,
        )


def kept_by_ratio(rule: Rule, metric: Metric, other: Metric) -> list[str]:
    """The labels of a ratio: those asked for, else those that both metrics have."""
    wanted = metric.dimensions if rule.by is None else rule.by
    return [name for name in wanted if name in other.dimensions]
