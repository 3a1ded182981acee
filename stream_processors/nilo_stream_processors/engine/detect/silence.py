"""Rules on silence: so long without a window."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nilo_schemas.catalogue import Metric
from nilo_schemas.results import SourceRange
from nilo_schemas.rules import Rule
from nilo_schemas.windows import window_length
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.feed import Feed, Step
from nilo_stream_processors.engine.detect.life import VANISHED
from nilo_stream_processors.engine.detect.verdicts import Facts, Stateless, Verdicts
from nilo_stream_processors.engine.detect.wording import span
from nilo_stream_processors.engine.plan import microseconds


class NoData(Stateless):
    """`no_data: 5m`: a series that is known has had no window for so long, but not for a day."""

    absent_is_clear = False

    def __init__(self, rule: Rule, metric: Metric, feed: Feed) -> None:
        self.labels, self._feed, self._topic = metric.dimensions, feed, metric.event
        self._after = microseconds(window_length(rule.no_data or ""))
        self._gone = self._after + VANISHED

    def judge(self, step: Step, others: Callable[[str], Closed]) -> Verdicts:
        """Look how long each known series has been silent."""
        known = step.known
        silent = step.end - self._feed.last_end(known)
        breach = (silent >= self._after) & (silent < self._gone)
        return Verdicts(
            self._feed.texts(known),
            breach,
            (silent == 0) | (silent >= self._gone),
            lambda place: self._facts(int(known[place]), int(silent[place])),
            silent / 1e6,
        )

    def due(self) -> int | None:
        """When the next series has been silent for too long, or is taken to be gone."""
        last = self._feed.last_end(self._feed.known())
        times = np.concatenate([last + self._after, last + self._gone])
        times = times[times > self._feed.clock]
        return self._feed.grid(int(times.min())) if len(times) else None

    def _facts(self, slot: int, silent: int) -> Facts:
        partition, first, last = self._feed.last_source(slot)
        newest = SourceRange(
            topic=self._topic, partition=partition, first_offset=first, last_offset=last
        )
        gone = ": it is taken to be gone" if silent >= self._gone else ""
        return Facts(
            f"no window for {span(silent)} (bound: {span(self._after)}){gone}",
            "seconds",
            value=silent / 1e6,
            threshold=self._after / 1e6,
            sources=[newest] if first <= last else [],
        )
