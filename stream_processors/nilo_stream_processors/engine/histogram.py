"""Base-2 exponential histograms, as in OpenTelemetry's data model.

Bucket i holds the values in (base**i, base**(i+1)] with base = 2 ** (2 ** -scale). Counts are
integers, so merging is adding and its order does not matter. A quantile is answered by the
middle of its bucket: at scale 5 the relative error is at most (base - 1) / (base + 1) = 1.08 %.
Source: opentelemetry.io, Metrics Data Model, ExponentialHistogram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache

import numpy as np

from nilo_stream_processors.engine.arrays import Floats, Ints
from nilo_stream_processors.engine.tallies import Bins


@dataclass(frozen=True)
class Values:
    """Several histograms with what stands outside the buckets, one entry for each.

    `low` and `high` are the exact least and largest value: no quantile lies outside them.
    """

    negative: Ints
    zero: Ints
    buckets: Bins
    low: Floats
    high: Floats

    def totals(self) -> Ints:
        """How many values each histogram holds."""
        return self.negative + self.zero + _totals(self.buckets)


def bucket_indexes(values: Floats, scale: int) -> Ints:
    """The bucket of each value; values must be above zero."""
    bounds, steps = _bounds(scale), 1 << scale
    fractions, exponents = np.frexp(values)
    guesses = np.clip((np.log2(fractions) * steps).astype(np.int64) + steps - 1, 0, steps - 1)
    places = guesses - (fractions <= bounds[guesses]) + (fractions > bounds[guesses + 1])
    indexes: Ints = ((exponents.astype(np.int64) - 1) << scale) + places
    return indexes


@cache
def _bounds(scale: int) -> Floats:
    """The bounds of the buckets from 1/2 to 1, correctly rounded.

    Logarithms and powers differ in the last bit from one processor to the next; these do not,
    and they have the last word.
    """
    steps = 1 << scale
    with localcontext(prec=40):
        return np.array([float(Decimal(2) ** (Decimal(j) / steps - 1)) for j in range(steps + 1)])


def quantiles(values: Values, scale: int, shares: Sequence[float]) -> dict[str, Floats]:
    """The quantiles of each histogram at the given shares, named p50, p99.9 …

    The value at share q is that of rank ceil(q * n), at least 1; NaN for an empty histogram.
    """
    totals = values.totals()
    running = np.cumsum(values.buckets.counts)
    before = running[np.cumsum(values.buckets.lengths) - 1] if len(running) else 0 * totals
    before = before - _totals(values.buckets)
    found = {}
    for share in shares:
        # Of the decimal that was written: 0.07 * 100 is more than 7 in floating point.
        part, whole = Decimal(str(share)).as_integer_ratio()
        ranks = np.maximum(-(-totals * part // whole), 1)
        answers = _at(ranks, values, running, before, scale)
        answers = np.minimum(np.maximum(answers, values.low), values.high)
        found[f"p{share * 100:g}"] = np.where(totals > 0, answers, np.nan)
    return found


def _at(ranks: Ints, values: Values, running: Ints, before: Ints, scale: int) -> Floats:
    """The value of the given rank in each histogram."""
    inside = ranks - values.negative - values.zero
    answers = np.where(ranks <= values.negative, values.low, 0.0)
    chosen = np.flatnonzero(inside > 0)
    places = np.searchsorted(running, (inside + before)[chosen])
    # Of an empty histogram the place may lie behind the last bucket; its answer is not used.
    indexes = (
        values.buckets.bins[np.minimum(places, len(running) - 1)] if len(running) else 0 * places
    )
    answers[chosen] = _middles(indexes, scale)
    return answers


def _middles(indexes: Ints, scale: int) -> Floats:
    """Between the bounds of each bucket, where the relative error to both is the same."""
    bounds = _bounds(scale)
    base = 2 * bounds[1]
    lower = np.ldexp(bounds[indexes & ((1 << scale) - 1)], (indexes >> scale) + 1)
    middles: Floats = lower * (2 * base / (1 + base))
    return middles


def _totals(buckets: Bins) -> Ints:
    ends = np.concatenate([[0], np.cumsum(buckets.counts)])
    stops = np.cumsum(buckets.lengths)
    totals: Ints = ends[stops] - ends[stops - buckets.lengths]
    return totals
