"""A stream of events through the pure engine: stage 1, stage 2 and the rules, without Kafka."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_stream_processors.engine import merge, merged, source
from nilo_stream_processors.engine.arrays import Ints
from nilo_stream_processors.engine.columns import ints
from nilo_stream_processors.engine.detect.closed import Closed
from nilo_stream_processors.engine.detect.detection import Detection
from nilo_stream_processors.engine.merge import Mark
from nilo_stream_processors.engine.plan import plan

SECOND = 1_000_000
PARTITIONS = 4
SERIES_CAP = 10_000
# The defaults of the settings; no event of a recording lies ahead of its record.
BOUNDS = source.Bounds(disorder=2 * SECOND, grace=600 * SECOND, future=2**62)
# So long it is silent behind the last event: windows of an hour end, and silence is noticed.
SILENCE = 3600 * SECOND


@dataclass
class Detected:
    """What came of a stream.

    `windows` are all final ones by metric and length; `times` the event times (µs) of each source
    partition, by offset.
    """

    events: int = 0
    late: int = 0
    alerts: list[Alert] = field(default_factory=list)
    capped: int = 0
    windows: dict[tuple[str, str], list[Closed]] = field(default_factory=lambda: defaultdict(list))
    times: list[list[Ints]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])


def detect(catalogue: Catalogue, topic: str, batches: Iterable[pa.RecordBatch]) -> Detected:
    """All events of a topic in the order of their offsets, dealt to the partitions in turn."""
    engine = _Engine(catalogue, topic)
    for batch in batches:
        engine.feed(batch)
    engine.finish()
    return engine.found


class _Engine:
    def __init__(self, catalogue: Catalogue, topic: str) -> None:
        metrics = catalogue.of_event(topic)
        rules = {name: rule for name, rule in catalogue.rules.items() if rule.metric in metrics}
        mine = Catalogue(metrics=metrics, rules=rules)
        self._topic, self.found = topic, Detected()
        self._sources = [source.source_state(plan(metrics, SERIES_CAP)) for _ in range(PARTITIONS)]
        self._merge = merge.merge_state(mine)
        self._detection = Detection(mine, SERIES_CAP)

    def feed(self, batch: pa.RecordBatch) -> None:
        """A batch through both stages, committed, and the windows that are final looked at."""
        numbers = self.found.events + np.arange(batch.num_rows)
        for partition, state in enumerate(self._sources):
            rows = np.flatnonzero(numbers % PARTITIONS == partition)
            if len(rows):
                self._aggregate(partition, state, batch.take(pa.array(rows)))
        self.found.events += batch.num_rows
        self._commit(silent=None)

    def finish(self) -> None:
        """Silence, so that all windows close."""
        self._commit(silent=SILENCE)

    def _aggregate(self, partition: int, state: source.SourceState, rows: pa.RecordBatch) -> None:
        times = ints(rows["time"])
        offsets = state.last_offset + 1 + np.arange(len(times))
        refused = source.aggregate(state, rows, offsets, times, BOUNDS)
        self.found.late += len(refused.late)
        self.found.times[partition].append(times)

    def _commit(self, silent: int | None) -> None:
        for partition, state in enumerate(self._sources):
            place = (self._topic, partition)
            idle = silent is not None
            mark = Mark(state.watermark, state.last_offset, idle=idle, silent=silent or 0)
            changed = source.changes(state, place)
            source.expire(state, BOUNDS.grace)
            merge.take(self._merge, changed, {place: mark}, BOUNDS.grace)
        self._look()
        merge.forget(self._merge, _partitions_of, BOUNDS.grace)

    def _look(self) -> None:
        for windows in merge.publish(self._merge, _partitions_of, provisional=False):
            final, place = merged.to_arrow(windows), (windows.name, windows.window)
            self.found.windows[place].append(Closed.of(final, windows.metric.dimensions))
            if not windows.late and self._detection.wants(*place):
                self._detection.add(*place, final)
        now = merge.clock(self._merge, self._topic, PARTITIONS)
        self.found.alerts += self._detection.advance(self._topic, now)
        self.found.capped += sum(self._detection.take_capped().values())


def _partitions_of(_topic: str) -> int:
    return PARTITIONS
