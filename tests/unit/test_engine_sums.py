"""Sums are exact, whatever their size, weights and order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilo_stream_processors.engine import sums
from nilo_stream_processors.engine.arrays import LARGEST, Ints
from tests.property.strategies import SHORT
from tests.rows import call, measured
from tests.stages import Stage1, Stage2

LARGE = 2**63 - 1
HEAVY = 2**31 - 1

# Values whose sums stay within 2**95 at every weight and count drawn here.
_values = st.integers(-(2**50), 2**50) | st.sampled_from([0, 1, -1, 2**32, -(2**32), 2**32 - 1])
_rows = st.lists(st.tuples(st.integers(0, 2), _values, st.integers(1, HEAVY)), max_size=30)


def total(block: Ints, slot: int) -> int:
    top, high, low = block[[sums.TOP, sums.HIGH, sums.LOW], slot].tolist()
    return int(top * 2**64 + high * 2**32 + low)


def summed(rows: list[tuple[int, int, int]]) -> Ints:
    block = sums.empty(3)
    if rows:
        slots, values, weights = (np.array(column, np.int64) for column in zip(*rows, strict=True))
        sums.add_values(block, slots, values, weights)
    sums.carry(block)
    return block


def windows(*rows: dict[str, Any]) -> dict[str, Any]:
    metrics = {"m": measured(value="input_tokens", unit="")}
    source, merge = Stage1(metrics), Stage2(metrics)
    for row in rows:
        source.feed(row)
    merge.take(source.commit())
    (window,) = merge.publish()
    return window.row


@SHORT
@given(_rows)
def test_sums_are_those_of_whole_numbers(rows: list[tuple[int, int, int]]) -> None:
    block = summed(rows)

    for slot in range(3):
        mine = [(value, weight) for at, value, weight in rows if at == slot]
        assert total(block, slot) == sum(value * weight for value, weight in mine)
        assert block[sums.LEAST, slot] == min((value for value, _ in mine), default=LARGEST)
        assert block[sums.MOST, slot] == max((value for value, _ in mine), default=-LARGEST)


@SHORT
@given(_rows, st.integers(0, 30), st.randoms(use_true_random=False))
def test_joined_parts_are_equal_to_the_whole_bit_by_bit(
    rows: list[tuple[int, int, int]], cut: int, random: Any
) -> None:
    mixed = random.sample(rows, len(rows))
    parts = summed(mixed[:cut])

    sums.join(parts, np.arange(3), summed(mixed[cut:]))

    assert parts.tobytes() == summed(rows).tobytes()


@pytest.mark.parametrize("value", [LARGE, -LARGE, 2**53 + 1])
def test_a_sum_beyond_64_bits_is_exact(value: int) -> None:
    block = sums.empty(1)
    many = 1_000
    sums.add_values(block, np.zeros(many, np.int64), np.full(many, value, np.int64), None)
    sums.carry(block)

    assert total(block, 0) == many * value


@pytest.mark.parametrize("value", [1, -1, 2**40 + 1, LARGE, -LARGE])
def test_a_value_with_the_largest_weight_is_exact(value: int) -> None:
    block = sums.empty(1)
    sums.add_values(block, np.zeros(1, np.int64), np.array([value]), np.array([HEAVY]))
    sums.carry(block)

    assert total(block, 0) == value * HEAVY


def test_many_large_values_with_large_weights_are_exact() -> None:
    block, many = sums.empty(1), 10
    values, weights = (np.full(many, each, np.int64) for each in (LARGE, HEAVY))
    sums.add_values(block, np.zeros(many, np.int64), values, weights)
    sums.carry(block)

    assert total(block, 0) == many * LARGE * HEAVY


def test_a_window_tells_the_exact_sum_of_large_values() -> None:
    rows = [call(1, input_tokens=LARGE), call(2, input_tokens=LARGE), call(3, input_tokens=2)]

    window = windows(*rows)

    assert window["sum"] == float(2**64)
    assert (window["min"], window["max"]) == (2.0, float(LARGE))


def test_weights_count_in_every_number_of_a_window() -> None:
    rows = [
        call(1, input_tokens=10, sample_rate=3, status="ERROR"),
        call(2, input_tokens=40),
        call(3, input_tokens=0, sample_rate=6),
    ]

    window = windows(*rows)

    assert (window["count"], window["errors"], window["error_ratio"]) == (10, 3, 0.3)
    assert (window["sum"], window["mean"], window["rate"]) == (70.0, 7.0, 1.0)
    assert (window["min"], window["max"]) == (0.0, 40.0)
    assert window["histogram"]["zero"] == 6
    assert window["histogram"]["counts"] == [3, 1]
