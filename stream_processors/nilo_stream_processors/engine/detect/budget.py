"""Rules on budgets: how much may be used in an hour, in a day, in a run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from nilo_schemas.catalogue import Metric
from nilo_schemas.results import SourceRange
from nilo_schemas.rule_checks import bound_of
from nilo_schemas.rules import PERIODS, Rule
from nilo_stream_processors.engine.arrays import Texts
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.feed import Step
from nilo_stream_processors.engine.detect.grouped import rows_of, sources_of, summed
from nilo_stream_processors.engine.detect.keyed import Keyed
from nilo_stream_processors.engine.detect.threshold import unit_of
from nilo_stream_processors.engine.detect.verdicts import Facts, Stored, Verdicts
from nilo_stream_processors.engine.detect.wording import told
from nilo_stream_processors.engine.grouped import projected, texts
from nilo_stream_processors.engine.plan import microseconds

# A run is over when nothing of it has come for so long.
RUN_ENDS = 3_600_000_000


class Budget:
    """`sum > 50 per day`: what was used since the day (UTC), the hour or the run began.

    The windows that are final are added up, so it fires when the bound is passed, not at the end of
    the day. What was used is kept as an integer, so that the order of adding does not matter.
    """

    absent_is_clear = False

    def __init__(self, rule: Rule, metric: Metric) -> None:
        condition = rule.condition()
        self.labels = [*(metric.dimensions if rule.by is None else rule.by)]
        self._dimensions, self._aggregate = metric.dimensions, condition.aggregate
        self._period, self._per = microseconds(PERIODS[condition.period or ""]), condition.period
        self._scale = metric.value_scale() if condition.aggregate == "sum" else 1
        self._bound, self._unit = bound_of(condition, metric), unit_of(condition.aggregate, metric)
        # Of each key: the number of the period, what was used in it, when it was added to last.
        self._used = Keyed()

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """Add the windows up, and compare what every key has used."""
        keys = projected(step.rows.series, self._dimensions, self.labels)
        self._begin_anew(step.end)
        for key, value in summed(keys, step.rows.values(self._aggregate)).items():
            self._add(key, round(value * self._scale), step.end)
        names = sorted(self._used.values)
        used = np.array([self._used.values[name]["used"] / self._scale for name in names])
        breach = used > self._bound

        def facts(place: int) -> Facts:
            sources = sources_of(step.rows, rows_of(keys, names[place]))
            return self._facts(float(used[place]), sources)

        return Verdicts(texts(names), breach, ~breach, facts, used)

    def _period_of(self, end: int) -> int:
        return (end - 1) // self._period if self._period else 0

    def _begin_anew(self, end: int) -> None:
        """A new day, a new budget; and a run of which nothing has come is over."""
        period = self._period_of(end)
        for key, held in list(self._used.values.items()):
            if end - held["last"] >= max(RUN_ENDS, 2 * self._period):
                self._used.drop(key)
            elif held["period"] != period:
                held |= {"period": period, "used": 0}
                self._used.changed(key)

    def _add(self, key: str, used: int, end: int) -> None:
        held = self._used.values.setdefault(key, {"period": self._period_of(end), "used": 0})
        held["used"] += used
        held["last"] = end
        self._used.changed(key)

    def _facts(self, used: float, sources: list[SourceRange]) -> Facts:
        return Facts(
            f"{told(used, self._unit)} used of {told(self._bound, self._unit)} per {self._per}",
            self._unit,
            value=used,
            threshold=self._bound,
            figures={"share": used / self._bound} if self._bound else {},
            sources=sources,
        )

    def due(self) -> int | None:
        """It says nothing without windows."""
        return None

    def forget(self, series: Texts) -> None:
        """A key is forgotten by its own time."""

    def stored(self, *, all_of_it: bool) -> Stored:
        """What was used."""
        return self._used.stored(all_of_it=all_of_it)

    def restore(self, batch: pa.RecordBatch) -> None:
        """Put back what was used."""
        self._used.restore(batch)
