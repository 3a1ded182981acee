"""Rules once more on the windows of all series, in the order of their ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from nilo_cli.rerun.looked import Looked
from nilo_consumers.window_rows import Kind
from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue, Metric
from nilo_schemas.rule_checks import rule_window
from nilo_schemas.rules import Rule
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.detection import Detection
from nilo_stream_processors.engine.detect.watcher import Watcher


def kinds_of(rule: Rule, metrics: Mapping[str, Metric]) -> frozenset[Kind]:
    """The windows that a rule looks at: those of its metric, and of the other one of a ratio."""
    window = rule_window(rule, metrics[rule.metric]).text
    others = {rule.condition().other or ""} if rule.kind == "ratio" else set[str]()
    return frozenset((metric, window) for metric in (rule.metric, *others))


class Rerun:
    """Takes in slices of windows; it holds what the rules have learnt and what waits for its time.

    The clock is the end of the newest window of all: what was silent after that is not known.

    Args:
        catalogue: its rules may stand there under any name, several versions of one side by side.
        cap: series that are remembered of a metric in a partition, where the metric does not say.
        partitions: of the processors, whose windows are all looked at together here.
    """

    def __init__(self, catalogue: Catalogue, cap: int, partitions: int) -> None:
        metrics = {name: _wider(each, partitions) for name, each in catalogue.metrics.items()}
        whole = catalogue.model_copy(update={"metrics": metrics})
        self._detection, self._looked = Detection(whole, cap * partitions), Looked()
        self._metrics = metrics
        self.last = 0

    @property
    def watchers(self) -> dict[str, Watcher]:
        """The rules at work, under the names that the catalogue has for them."""
        return self._detection.watchers

    def add(self, kind: Kind, batch: pa.RecordBatch) -> Closed:
        """Take in final windows of one kind with their origin; those that came in time."""
        closed = Closed.of(batch, self._metrics[kind[0]].dimensions)
        in_time = self._looked.in_time(kind, batch, closed)
        self.last = max(self.last, int(closed.end.max()))
        if self._detection.wants(*kind):
            self._detection.add(*kind, batch.filter(pa.array(in_time)))
        return closed.take(in_time.nonzero()[0])

    def advance(self, safe: int) -> Iterator[Alert]:
        """The transitions up to a time (µs), before which no window comes any more."""
        for topic in self._detection.topics:
            yield from self._detection.advance(topic, min(safe, self.last))
        self._detection.take_forgotten()

    def capped(self) -> dict[str, int]:
        """By name of the rule, how many alerts were not begun because it had too many."""
        return self._detection.take_capped()


def _wider(metric: Metric, partitions: int) -> Metric:
    """A metric with as many series as it may have in all partitions together."""
    if metric.max_series is None:
        return metric
    return metric.model_copy(update={"max_series": metric.max_series * partitions})
