"""Arrays that the engine computes on, and how rows are grouped without sorting them."""

from __future__ import annotations

from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

LARGEST = int(np.iinfo(np.int64).max)

# Scanning so many empty places costs less than sorting a batch does.
CHEAP_SPACE = 65_536


def distinct(values: Ints, space: int) -> tuple[Ints, Ints, Ints]:
    """The distinct values in order of first occurrence, each row's number, and the first rows.

    Args:
        values: integers from 0 to `space` - 1, one for each row.
        space: how many values are possible. A small space is counted out, a large one sorted.
    """
    if space > CHEAP_SPACE + 4 * len(values):
        found, dense = np.unique(values, return_inverse=True)
        order, numbers, first = distinct(dense.reshape(-1).astype(np.int64), len(found))
        return found[order], numbers, first
    first = np.full(space, len(values), np.int64)
    np.minimum.at(first, values, np.arange(len(values)))
    present = np.flatnonzero(first < len(values))
    present = present[np.argsort(first[present])]
    numbers = np.empty(space, np.int64)
    numbers[present] = np.arange(len(present))
    return present, numbers[values], first[present]
