"""The exact sums of many cells as rows of one array, and how they are joined.

A sum is kept in three integers, `top * 2**64 + high * 2**32 + low`: so many 64-bit values with any
weights add up exactly, whatever their order, as two thousand million rows between two `carry`s.
All other fields are counts, or least and largest ones.
"""

from __future__ import annotations

import numpy as np

from nilo_stream_processors.engine.arrays import LARGEST, Floats, Ints

FIELDS = (
    "count", "errors", "first_offset", "last_offset",
    "sum_top", "sum_high", "sum_low", "least", "largest", "zero", "negative",
)  # fmt: skip
COUNT, ERRORS, FIRST, LAST, TOP, HIGH, LOW, LEAST, MOST, ZERO, NEGATIVE = range(len(FIELDS))
JOINS: tuple[np.ufunc, ...] = (
    np.add, np.add, np.minimum, np.maximum,
    np.add, np.add, np.add, np.minimum, np.maximum, np.add, np.add,
)  # fmt: skip
EMPTY = np.array([0, 0, LARGEST, -1, 0, 0, 0, LARGEST, -LARGEST, 0, 0], np.int64)
_BITS = 32
_MASK = (1 << _BITS) - 1


def empty(count: int) -> Ints:
    """Fields of so many cells in which there is nothing; shape (fields, count)."""
    return np.repeat(EMPTY[:, None], count, axis=1)


def add_values(sums: Ints, slots: Ints, values: Ints, weights: Ints | None) -> None:
    """Add the values of rows to the sums, least and largest values of their slots."""
    high, low = values >> _BITS, values & _MASK
    if weights is not None:
        # Weights are below 2**31: the products of the halves fit.
        low = low * weights
        high = high * weights + (low >> _BITS)
        np.add.at(sums[TOP], slots, high >> _BITS)
        high, low = high & _MASK, low & _MASK
    np.add.at(sums[HIGH], slots, high)
    np.add.at(sums[LOW], slots, low)
    np.minimum.at(sums[LEAST], slots, values)
    np.maximum.at(sums[MOST], slots, values)


def join(sums: Ints, slots: Ints, others: Ints) -> None:
    """Join other cells, one for each slot given, into those of the slots."""
    for field, ufunc in enumerate(JOINS):
        ufunc.at(sums[field], slots, others[field])
    carry(sums)


def carry(sums: Ints) -> None:
    """Bring the lower parts of each sum below 2**32: equal sums are then equal in each part."""
    for upper, lower in ((HIGH, LOW), (TOP, HIGH)):
        sums[upper] += sums[lower] >> _BITS
        sums[lower] &= _MASK


def totals(sums: Ints) -> Floats:
    """The sums as floating-point numbers, correct to one rounding where they fit 2**53."""
    total: Floats = sums[TOP] * 2.0**64 + sums[HIGH] * 2.0**32 + sums[LOW]
    return total
