"""The exact sums of many cells as rows of one array, and how they are joined.

A sum is kept in two integers, `high * 2**32 + low`: any number of 64-bit values with any weights
add up exactly, whatever their order. All other fields are counts, or least and largest ones.
"""

from __future__ import annotations

import numpy as np

from nilo_stream_processors.engine.arrays import LARGEST, Floats, Ints

FIELDS = (
    "count", "errors", "first_offset", "last_offset",
    "sum_high", "sum_low", "least", "largest", "zero", "negative",
)  # fmt: skip
COUNT, ERRORS, FIRST, LAST, HIGH, LOW, LEAST, MOST, ZERO, NEGATIVE = range(len(FIELDS))
JOINS: tuple[np.ufunc, ...] = (
    np.add, np.add, np.minimum, np.maximum,
    np.add, np.add, np.minimum, np.maximum, np.add, np.add,
)  # fmt: skip
EMPTY = np.array([0, 0, LARGEST, -1, 0, 0, LARGEST, -LARGEST, 0, 0], np.int64)
_LOW_BITS = 32
_LOW_MASK = (1 << _LOW_BITS) - 1


def empty(count: int) -> Ints:
    """Fields of so many cells in which there is nothing; shape (fields, count)."""
    return np.repeat(EMPTY[:, None], count, axis=1)


def add_values(sums: Ints, slots: Ints, values: Ints, weights: Ints | None) -> None:
    """Add the values of rows to the sums, least and largest values of their slots."""
    high, low = values >> _LOW_BITS, values & _LOW_MASK
    if weights is not None:
        # Weights are below 2**31: the product of the lower halves fits.
        low = low * weights
        high, low = high * weights + (low >> _LOW_BITS), low & _LOW_MASK
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
    """Bring the lower half of each sum below 2**32, where it is the same for equal sums."""
    sums[HIGH] += sums[LOW] >> _LOW_BITS
    sums[LOW] &= _LOW_MASK


def totals(sums: Ints) -> Floats:
    """The sums as floating-point numbers, correct to one rounding where they fit 2**53."""
    total: Floats = sums[HIGH] * float(1 << _LOW_BITS) + sums[LOW]
    return total
