# ruff: noqa: D101, D102, D103  a stand-in that goes with the next merge
"""Stand-in until the detector is merged: an EWMA z-score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from nilo_stream_processors.engine.arrays import Bools, Floats, Ints

THRESHOLD = 0.99
WARM_UP = 60


def phrase(shape: int, time: int) -> str:
    return "spike"


@dataclass(frozen=True)
class Judged:
    score: Floats
    ready: Bools
    seen: Ints
    expected: Floats
    spread: Floats
    shape: Ints


class Detectors:
    def __init__(self, step: int) -> None:
        self.a: Any = np.zeros((0, 3))

    def _grow(self, slots: Ints) -> None:
        m = int(slots.max(initial=-1)) + 1
        if m > len(self.a):
            self.a = np.pad(self.a, ((0, m), (0, 0)))

    def take(self, slots: Ints, times: Ints, values: Floats) -> Judged:
        self._grow(slots)
        n, mean, var = self.a[slots].T
        sd = np.sqrt(np.maximum(var, 1e-12))
        z = np.abs(values - mean) / sd
        ready = n >= WARM_UP
        score = np.where(ready, 1 - np.exp(-z * z / 4), 0.0)
        al = np.maximum(0.01, 1 / (n + 1))
        d = values - mean
        self.a[slots] = np.stack([n + 1, mean + al * d, (1 - al) * (var + al * d * d)], 1)
        return Judged(score, ready, n.astype(int) + 1, mean, sd, np.ones(len(slots), int))

    def forget(self, slots: Ints) -> None:
        self.a[slots] = 0

    def stored(self, slots: Ints) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict({f"c{i}": self.a[slots, i] for i in range(3)})

    def restore(self, slots: Ints, batch: pa.RecordBatch) -> None:
        self._grow(slots)
        self.a[slots] = np.stack([batch[f"c{i}"].to_numpy() for i in range(3)], 1)
