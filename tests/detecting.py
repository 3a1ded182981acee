"""Rules on windows made by hand, committed, killed and recovered as a worker would."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.results import MetricWindow
from nilo_stream_processors.blobs import packed, unpacked
from nilo_stream_processors.engine.detect.detection import Detection
from tests.windows_of import START, batch, microseconds

TOPIC = "events.llm"


class Detecting:
    """A detection, and what a log would hold of it."""

    def __init__(self, catalogue: Catalogue, cap: int = 1000) -> None:
        self._catalogue, self._cap = catalogue, cap
        self.detection = Detection(catalogue, cap)
        self._log: list[tuple[dict[str, object], list[pa.RecordBatch]]] = []

    def feed(self, windows: Iterable[MetricWindow], until: float | None = None) -> list[Alert]:
        """Take in final windows, and look up to a minute after START; default: the last end."""
        windows = list(windows)
        kinds = {(each.metric, each.window) for each in windows}
        for metric, text in sorted(kinds):
            mine = [each for each in windows if (each.metric, each.window) == (metric, text)]
            if self.detection.wants(metric, text):
                self.detection.add(metric, text, batch(mine))
        if until is None:
            now = max(microseconds(each.window_end) for each in windows)
        else:
            now = microseconds(START) + round(until * 60_000_000)
        return list(self.detection.advance(TOPIC, now))

    def commit(self, *, snapshot: bool = False) -> None:
        """Write what changed, or all of it."""
        whole = snapshot or not self._log
        found = list(packed(self.detection.stored(all_of_it=whole)))
        self._log = [] if whole else self._log
        self._log.append((self.detection.header(), found))

    def crash(self, catalogue: Catalogue | None = None) -> None:
        """Begin anew from what was committed, with another catalogue if there is one."""
        self.detection = Detection(catalogue or self._catalogue, self._cap)
        if not self._log:
            return
        self.detection.begin_restore(self._log[-1][0])
        for _, batches in self._log:
            for each in batches:
                for name, part in unpacked(each):
                    self.detection.restore(name, part)


def told(alerts: Iterable[Alert]) -> list[tuple[float, str, str]]:
    """Minutes after START, rule, and what it became."""
    return [
        ((microseconds(each.time) - microseconds(START)) / 60_000_000, each.rule, str(each.state))
        for each in alerts
    ]
