"""Which revision of a window the rules looked at.

They look at a window once, when it closes; what is published of it afterwards is late. In the order
of offsets a window is published in time when no window of its kind that ends later has been, and
only its first final revision is.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from nilo_consumers.batch import OFFSET, PARTITION
from nilo_stream_processors.engine.arrays import Bools, Ints
from nilo_stream_processors.engine.detect.closed import Closed

_Kind = tuple[str, str]


class Looked:
    """Tells the windows that were looked at from those that came late."""

    def __init__(self) -> None:
        self._reached: dict[tuple[int, _Kind], int] = {}
        # Of each kind, the windows that were looked at, by series and start; with their ends.
        self._seen: dict[_Kind, dict[tuple[str, int], int]] = {}

    def in_time(self, kind: _Kind, batch: pa.RecordBatch, closed: Closed) -> Bools:
        """Which rows were looked at.

        Args:
            kind: metric and length of the windows.
            batch: final windows with their origin; what comes later has later offsets.
            closed: the same windows.
        """
        partitions, offsets = (_ints(batch, name) for name in (PARTITION, OFFSET))
        order = np.lexsort((offsets, partitions))
        found = np.zeros(len(closed), np.bool_)
        for partition in np.unique(partitions).tolist():
            rows = order[partitions[order] == partition]
            found[rows] = self._not_passed((partition, kind), closed.end[rows])
        seen = self._seen.setdefault(kind, {})
        for row in order[found[order]].tolist():
            place = closed.series[row], int(closed.start[row])
            found[row] = place not in seen
            seen.setdefault(place, int(closed.end[row]))
        return found

    def forget(self, safe: int) -> None:
        """Forget windows of which no more will be given: those that end at `safe` or before."""
        for kind, seen in self._seen.items():
            self._seen[kind] = {place: end for place, end in seen.items() if end > safe}

    def _not_passed(self, place: tuple[int, _Kind], ends: Ints) -> Bools:
        reached = np.maximum.accumulate(np.concatenate([[self._reached.get(place, 0)], ends]))
        self._reached[place] = int(reached[-1])
        return np.asarray(ends >= reached[:-1], np.bool_)


def _ints(batch: pa.RecordBatch, name: str) -> Ints:
    return np.asarray(batch[name].to_numpy(zero_copy_only=False), np.int64)
