"""Base-2 exponential histograms, as in OpenTelemetry's data model.

Bucket i holds the values in (base**i, base**(i+1)] with base = 2 ** (2 ** -scale). Counts are
integers, so merging is adding and its order does not matter. A quantile is answered by the
middle of its bucket: at scale 5 the relative error is at most (base - 1) / (base + 1) = 1.08 %.
Source: opentelemetry.io, Metrics Data Model, ExponentialHistogram.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Buckets:
    """The counts of a histogram: of zeros, of negative values, and by bucket index."""

    zero: int = 0
    negative: int = 0
    counts: Counter[int] = field(default_factory=Counter)

    def add(self, other: Buckets) -> None:
        """Take in another histogram of the same scale."""
        self.zero += other.zero
        self.negative += other.negative
        self.counts.update(other.counts)

    def total(self) -> int:
        """How many values it holds."""
        return self.zero + self.negative + self.counts.total()


def bucket_indexes(
    values: np.ndarray[Any, np.dtype[np.float64]], scale: int
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The bucket of each value; values must be above zero."""
    indexes: np.ndarray[Any, np.dtype[np.int64]]
    indexes = np.ceil(np.log2(values) * 2.0**scale).astype(np.int64) - 1
    return indexes


def quantiles(
    buckets: Buckets, scale: int, shares: Sequence[float], low: float, high: float
) -> dict[str, float]:
    """The quantiles at the given shares, named p50, p99.9 …; empty for an empty histogram.

    The value at share q is that of rank ceil(q * n), at least 1. `low` and `high` are the
    exact least and largest value: no answer lies outside them.
    """
    total = buckets.total()
    if not total:
        return {}
    found = {}
    for share in shares:
        rank = max(int(np.ceil(share * total)), 1)
        value = _value_at(buckets, scale, rank, low)
        found[f"p{share * 100:g}"] = min(max(value, low), high)
    return found


def _value_at(buckets: Buckets, scale: int, rank: int, low: float) -> float:
    if rank <= buckets.negative:
        return low
    rank -= buckets.negative + buckets.zero
    if rank <= 0:
        return 0.0
    indexes = sorted(buckets.counts)
    ranks = np.cumsum([buckets.counts[index] for index in indexes])
    index = indexes[int(np.searchsorted(ranks, rank))]
    base = 2.0 ** (2.0**-scale)
    return float(base**index * 2 * base / (1 + base))
