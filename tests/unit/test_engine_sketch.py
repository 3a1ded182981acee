"""Distinct counts: near enough, and the same whatever the order and the cuts."""

from __future__ import annotations

import random

import numpy as np
import pytest

from nilo_stream_processors.engine.sketch import REGISTERS, estimates, registers
from nilo_stream_processors.engine.tallies import Tallies
from tests.rows import call, measured
from tests.stages import Stage1, Stage2

USERS = {
    "m": measured(
        value=None, unit="", aggregates=["count", "distinct"], distinct="session_id", dimensions=[]
    )
}


def sketched(*batches: list[str]) -> Tallies:
    held = Tallies(np.maximum)
    for batch in batches:
        places, ranks = registers(batch)
        held.add(np.zeros(len(batch), np.int64), places, ranks)
    return held


def told(held: Tallies) -> float:
    return float(estimates(held.of(np.zeros(1, np.int64)))[0])


@pytest.mark.parametrize("kind", ["user-{}", "{:032x}", "https://example.org/{}/profile"])
@pytest.mark.parametrize("many", [10, 100, 1_000, 3_000, 10_000, 20_000, 100_000])
def test_an_estimate_is_within_5_percent(kind: str, many: int) -> None:
    held = sketched([kind.format(number) for number in range(many)])

    assert told(held) == pytest.approx(many, rel=0.05)


@pytest.mark.parametrize("many", [0, 1, 2, 3])
def test_a_few_are_counted_nearly_exactly(many: int) -> None:
    assert told(sketched([f"u{number}" for number in range(many)])) == pytest.approx(many, abs=0.01)


def test_order_repetition_and_cuts_change_no_bit() -> None:
    texts = [f"u{number}" for number in range(20_000)]
    mixed = random.Random(1).sample(texts * 2, 40_000)

    whole = sketched(texts).of(np.zeros(1, np.int64))
    parts = sketched(*(mixed[at : at + 777] for at in range(0, 40_000, 777))).of(
        np.zeros(1, np.int64)
    )

    assert whole.bins.tobytes() == parts.bins.tobytes()
    assert whole.counts.tobytes() == parts.counts.tobytes()
    assert told(sketched(texts)) == told(sketched(mixed))


def test_registers_and_ranks_stay_in_their_ranges() -> None:
    places, ranks = registers([str(number) for number in range(100_000)])

    assert (places.min(), places.max()) == (0, REGISTERS - 1)
    assert ranks.min() == 1
    # Of 100,000 hashes the longest run of leading zeros is about 17 bits.
    assert 12 < ranks.max() <= 53


def test_each_sketch_is_told_from_its_own_registers() -> None:
    places, ranks = registers([f"u{number}" for number in range(100)])
    held = Tallies(np.maximum)
    held.add(np.array([0] * 10 + [2] * 90), places, ranks)

    found = estimates(held.of(np.arange(3)))

    assert found == pytest.approx([10, 0, 90], rel=0.02)


def test_a_window_tells_the_union_of_its_partitions() -> None:
    """0 to 599 in one partition and 400 to 999 in the other; nulls are nobody."""
    sources = [Stage1(USERS, partition) for partition in range(2)]
    for source in sources:
        rows = range(source.source[1] * 400, source.source[1] * 400 + 600)
        source.feed(*(call(1, session_id=f"s{row}", sample_rate=3) for row in rows))
        source.feed(call(2, session_id=None))
    merge = Stage2(USERS, partitions=2)
    merge.take(*(source.commit() for source in sources))

    (window,) = merge.publish()

    assert window.row["count"] == 3602
    assert window.row["distinct"] == pytest.approx(1_000, rel=0.05)


def test_the_error_is_unbiased_over_many_sets() -> None:
    """The standard error is 1.6 %: of forty sets the mean is within 0.9 %, all within 6 %."""
    found = [
        told(sketched([f"{seed}/{number}" for number in range(5_000)])) / 5_000 - 1
        for seed in range(40)
    ]

    assert abs(float(np.mean(found))) < 0.009
    assert max(map(abs, found)) < 0.06
