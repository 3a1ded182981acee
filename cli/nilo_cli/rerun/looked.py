"""Which revision of a window the rules looked at.

They look at a window once, when it closes; what is published of it afterwards is late. A series is
published in order, so in the order of offsets a window was in time when it ends behind all that
the series had before: neither a later revision does, nor a window whose first event came late.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.window_rows import Kind
from nilo_stream_processors.engine.arrays import Bools, Ints
from nilo_stream_processors.engine.detect.closed import Closed


class Looked:
    """Tells the windows that were looked at from those that came late."""

    def __init__(self) -> None:
        # Of each kind, up to when each series has come.
        self._reached: dict[Kind, dict[str, int]] = {}

    def in_time(self, kind: Kind, batch: pa.RecordBatch, closed: Closed) -> Bools:
        """Which rows were looked at.

        Args:
            kind: metric and length of the windows.
            batch: final windows with their origin; what comes later has later offsets.
            closed: the same windows.
        """
        reached = self._reached.setdefault(kind, {})
        order = np.lexsort((_ints(batch, OFFSET), _ints(batch, PARTITION)))
        found = []
        ordered = closed.series[order].tolist(), closed.end[order].tolist()
        for series, end in zip(*ordered, strict=True):
            found.append(end > reached.get(series, 0))
            if found[-1]:
                reached[series] = end
        in_time = np.zeros(len(closed), np.bool_)
        in_time[order] = found
        return in_time


def _ints(batch: pa.RecordBatch, name: str) -> Ints:
    return np.asarray(batch[name].to_numpy(zero_copy_only=False), np.int64)
