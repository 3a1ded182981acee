"""Rules on silence: so long without a window."""

from __future__ import annotations

from collections.abc import Callable

from nilo_schemas.catalogue import Metric
from nilo_schemas.results import SourceRange
from nilo_schemas.rules import Rule
from nilo_schemas.windows import window_length
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.feed import Feed, Step
from nilo_stream_processors.engine.detect.verdicts import Facts, Stateless, Verdicts
from nilo_stream_processors.engine.detect.wording import span
from nilo_stream_processors.engine.plan import microseconds


class NoData(Stateless):
    """`no_data: 5m`: a series that is known has had no window for so long."""

    absent_is_clear = False

    def __init__(self, rule: Rule, metric: Metric, feed: Feed) -> None:
        self.labels, self._feed, self._topic = metric.dimensions, feed, metric.event
        self._after = microseconds(window_length(rule.no_data or ""))

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """Look how long each known series has been silent."""
        known = step.known
        silent = step.end - self._feed.last_end(known)
        breach = silent >= self._after
        return Verdicts(
            self._feed.texts(known),
            breach,
            silent == 0,
            lambda place: self._facts(int(known[place]), int(silent[place])),
        )

    def _facts(self, slot: int, silent: int) -> Facts:
        partition, first, last = self._feed.last_source(slot)
        newest = SourceRange(
            topic=self._topic, partition=partition, first_offset=first, last_offset=last
        )
        seconds = self._after / 1e6
        return Facts(
            f"no window for {span(silent)} (bound: {span(self._after)})",
            "seconds",
            value=silent / 1e6,
            threshold=seconds,
            sources=[newest] if first <= last else [],
        )
