"""Buckets and what quantiles are told from them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilo_stream_processors.engine.histogram import Values, bucket_indexes, quantiles
from nilo_stream_processors.engine.tallies import Bins
from tests.property.strategies import SHORT


def ints(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


def histograms(*given: list[float], scale: int = 5) -> Values:
    """The histograms of lists of values."""
    lengths, bins, counts = [], [], []
    for values in given:
        above = np.array([value for value in values if value > 0])
        found, many = np.unique(bucket_indexes(above, scale), return_counts=True)
        lengths.append(len(found))
        bins += found.tolist()
        counts += many.tolist()
    return Values(
        negative=ints(*(sum(value < 0 for value in values) for values in given)),
        zero=ints(*(values.count(0) for values in given)),
        buckets=Bins(ints(*lengths), ints(*bins), ints(*counts)),
        low=np.array([min(values, default=math.inf) for values in given]),
        high=np.array([max(values, default=-math.inf) for values in given]),
    )


@pytest.mark.parametrize("scale", [0, 3, 5, 8, 10])
def test_a_bucket_holds_what_its_bounds_say(scale: int) -> None:
    """Bucket i is (base**i, base**(i+1)]; powers of two lie on upper bounds at every scale."""
    base = 2.0 ** (2.0**-scale)
    values = np.array([0.3, 1.0, 1.5, 2.0, 1024.0, 1e-6, 9e12, 5e-324, 1e308])

    for value, index in zip(values.tolist(), bucket_indexes(values, scale).tolist(), strict=True):
        exponent = math.log(value) / math.log(base)
        assert index - 1e-6 < exponent <= index + 1 + 1e-6
    powers = np.ldexp(1.0, np.arange(-20, 21))
    assert list(bucket_indexes(powers, scale)) == [k * 2**scale - 1 for k in range(-20, 21)]
    above = np.nextafter(powers, np.inf)
    assert list(bucket_indexes(above, scale)) == [k * 2**scale for k in range(-20, 21)]


@pytest.mark.parametrize("scale", [1, 5, 10])
def test_every_bound_belongs_to_the_bucket_below_it(scale: int) -> None:
    steps = 2**scale
    bounds = np.array([float(2.0 ** (1 + j / steps)) for j in range(1, steps)])
    inside, outside = bounds * (1 - 1e-14), bounds * (1 + 1e-14)

    assert list(bucket_indexes(inside, scale)) == list(range(steps, 2 * steps - 1))
    assert list(bucket_indexes(outside, scale)) == list(range(steps + 1, 2 * steps))


def test_quantiles_count_negative_values_and_zeros() -> None:
    """Of values below zero only the least is known."""
    found = quantiles(histograms([-3.0, -1.0, 0.0, 1.01]), 5, [0.0, 0.5, 0.75, 1.0])

    assert {name: list(values) for name, values in found.items()} == {
        "p0": [-3.0],
        "p50": [-3.0],
        "p75": [0.0],
        "p100": [1.01],
    }


def test_each_histogram_answers_for_itself() -> None:
    """An empty one has no answer, one value is its own answer, whatever stands beside it."""
    found = quantiles(histograms([], [7.0], [], [0.0], [-2.0], [1.0, 100.0], []), 5, [0.5])["p50"]

    assert [value for value in found.tolist() if not math.isnan(value)] == [7.0, 0.0, -2.0, 1.0]
    assert np.flatnonzero(np.isnan(found)).tolist() == [0, 2, 6]
    assert np.isnan(quantiles(histograms([], []), 5, [0.5])["p50"]).all()


def rank(values: list[float], share: float) -> float:
    """The value of rank ceil(share * n), at least 1."""
    return sorted(values)[max(math.ceil(Fraction(str(share)) * len(values)), 1) - 1]


@SHORT
@given(
    st.lists(st.lists(st.floats(1e-9, 1e12), min_size=1, max_size=40), min_size=1, max_size=5),
    st.sampled_from([0.0, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0]),
)
def test_a_quantile_is_within_the_promised_error(given: list[list[float]], share: float) -> None:
    """Half a bucket: 1.1 % at scale 5."""
    (found,) = quantiles(histograms(*given), 5, [share]).values()

    for answer, values in zip(found.tolist(), given, strict=True):
        assert math.isclose(answer, rank(values, share), rel_tol=0.011)


@pytest.mark.parametrize("share", [0.07, 0.55])
def test_the_rank_of_a_share_is_that_of_the_decimal_that_was_written(share: float) -> None:
    values = [2.0**n for n in range(100)]
    (found,) = quantiles(histograms(values), 5, [share]).values()

    assert math.isclose(found[0], rank(values, share), rel_tol=0.011)
