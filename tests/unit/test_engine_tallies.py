"""Sparse integers by slot and bin, and how rows are grouped."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilo_stream_processors.engine import arrays, tallies
from nilo_stream_processors.engine.arrays import Ints
from nilo_stream_processors.engine.tallies import BIAS, Tallies, reduced, spans
from tests.property.strategies import SHORT

SLOTS = 6
# Bins crowd at the ends of what is allowed, where a slip would touch the next slot.
_bins = st.sampled_from([-BIAS, -BIAS + 1, -1, 0, 1, BIAS - 1]) | st.integers(-BIAS, BIAS - 1)
_row = st.tuples(st.integers(0, SLOTS - 1), _bins, st.integers(1, 2**31 - 1))
_batches = st.lists(st.lists(_row, max_size=8), max_size=6)


def columns(rows: list[tuple[int, int, int]]) -> list[Ints]:
    return [np.array([row[part] for row in rows], np.int64) for part in range(3)]


def content(held: Tallies, slots: list[int]) -> dict[tuple[int, int], int]:
    bins = held.of(np.array(slots, np.int64))
    owners = np.repeat(slots, bins.lengths).astype(int).tolist()
    pairs = zip(owners, bins.bins.tolist(), strict=True)
    found = dict(zip(pairs, bins.counts.tolist(), strict=True))
    assert list(found) == sorted(found)
    assert len(found) == len(bins.bins)
    return found


@SHORT
@given(_batches, st.sets(st.integers(0, SLOTS - 1)))
def test_bins_add_up_by_slot_and_bin(
    batches: list[list[tuple[int, int, int]]], asked: set[int]
) -> None:
    held, wanted = Tallies(), Counter[tuple[int, int]]()
    for batch in batches:
        held.add(*columns(batch))
        for slot, number, count in batch:
            wanted[slot, number] += count

    slots = sorted(asked)

    assert content(held, slots) == {key: n for key, n in wanted.items() if key[0] in asked}


@SHORT
@given(_batches, st.sets(st.integers(0, SLOTS - 1)))
def test_registers_keep_the_larger_one(
    batches: list[list[tuple[int, int, int]]], gone: set[int]
) -> None:
    held, wanted = Tallies(np.maximum), dict[tuple[int, int], int]()
    for batch in batches:
        held.add(*columns(batch))
        for slot, number, count in batch:
            wanted[slot, number] = max(count, wanted.get((slot, number), 0))

    held.drop(np.isin(np.arange(SLOTS), list(gone)))

    left = {key: n for key, n in wanted.items() if key[0] not in gone}
    assert content(held, list(range(SLOTS))) == left


def test_notes_are_put_in_order_before_they_grow_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "MOST_NOTES", 10)
    held = Tallies()

    for _ in range(100):
        held.add(*columns([(0, number, 1) for number in range(3)]))
        assert held._noted <= 10

    assert content(held, [0]) == {(0, 0): 100, (0, 1): 100, (0, 2): 100}


def test_spans_are_stretches_one_after_another() -> None:
    begin, lengths = np.array([7, 0, 100, 3]), np.array([2, 3, 0, 1])

    assert list(spans(begin, lengths)) == [7, 8, 0, 1, 2, 3]
    assert list(spans(begin[:0], lengths[:0])) == []


_keys = st.lists(st.tuples(st.integers(0, 500), st.integers(1, 2**40)), min_size=1, max_size=60)


@SHORT
@given(_keys, st.sampled_from([np.add, np.maximum]), st.sampled_from([0, 10**12]))
def test_counting_out_and_sorting_reduce_alike(
    pairs: list[tuple[int, int]], join: np.ufunc, shift: int
) -> None:
    keys, counts = (np.array(column, np.int64) for column in zip(*pairs, strict=True))

    dense = reduced(keys + shift, counts, join)
    # Keys far apart are too many places to count out.
    sparse = reduced((keys + shift) * 10**6, counts, join)

    assert list(dense[0]) == list(sparse[0] // 10**6)
    assert list(dense[1]) == list(sparse[1])


@SHORT
@given(st.lists(st.integers(0, 500), max_size=60))
def test_counting_out_and_sorting_number_values_alike(given: list[int]) -> None:
    values = np.array(given, np.int64)
    order = list(dict.fromkeys(given))

    for space in (501, arrays.CHEAP_SPACE + 4 * len(given) + 1):
        found, numbers = arrays.distinct(values, space)

        assert list(found) == order
        assert list(found[numbers]) == given
