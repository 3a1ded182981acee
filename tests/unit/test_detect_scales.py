"""The scales on which aggregates are judged."""

from __future__ import annotations

import numpy as np
import pytest

from nilo_stream_processors.engine.detect.scales import scale_of


@pytest.mark.parametrize("aggregate", ["count", "sum", "mean", "p95", "error_ratio"])
def test_a_scale_gives_back_what_it_was_given(aggregate: str) -> None:
    values = np.linspace(0, 1, 101)
    if aggregate in ("sum", "mean"):
        values = values * 2e9 - 1e9
    scale = scale_of(aggregate)

    np.testing.assert_allclose(scale.back(scale.to(values)), values, rtol=1e-9, atol=1e-12)
    assert (np.diff(scale.to(values)) > 0).all()


def test_counts_and_shares_vary_alike_wherever_they_are() -> None:
    rng = np.random.default_rng(3)
    counts = [
        scale_of("count").to(rng.poisson(mean, 20_000).astype(float)).std() for mean in (30, 3000)
    ]
    shares = [
        scale_of("error_ratio").to(rng.binomial(500, share, 20_000) / 500).std()
        for share in (0.03, 0.5)
    ]

    assert counts[0] == pytest.approx(counts[1], rel=0.05)
    assert shares[0] == pytest.approx(shares[1], rel=0.05)


def test_what_lies_beyond_a_share_is_the_nearest_one() -> None:
    np.testing.assert_allclose(scale_of("error_ratio").back(np.array([-0.2, 2.0])), [0, 1])
