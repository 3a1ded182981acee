"""Arrays that the engine computes on, and how rows are grouped without sorting them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Texts = np.ndarray[Any, np.dtype[np.object_]]

LARGEST = int(np.iinfo(np.int64).max)

# Scanning so many empty places costs less than sorting a batch does.
CHEAP_SPACE = 65_536


def constant(value: str | int, count: int) -> Any:
    """A column of one value for all rows: a view that takes no memory, and is not written to."""
    one = np.array([value], np.object_ if isinstance(value, str) else np.int64)
    return np.broadcast_to(one, (count,))


def is_constant(column: np.ndarray[Any, Any]) -> bool:
    """Whether it is known that all rows have one value; of a few rows it may not be known."""
    return column.strides == (0,)


def taken(column: np.ndarray[Any, Any], rows: Ints) -> np.ndarray[Any, Any]:
    """The given rows of a column, of its last axis."""
    if is_constant(column):
        return np.broadcast_to(column[:1], (len(rows),))
    return column[..., rows]


def joined(columns: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Columns one after another, along their last axis."""
    columns = [column for column in columns if column.shape[-1]] or columns[:1]
    first = columns[0][:1]
    if all(is_constant(column) and (column[:1] == first).all() for column in columns):
        return np.broadcast_to(first, (sum(map(len, columns)),))
    return np.concatenate(columns, axis=-1)


def distinct(values: Ints, space: int) -> tuple[Ints, Ints]:
    """The distinct values in order of first occurrence, and the number of each row's value.

    Args:
        values: integers from 0 to `space` - 1, one for each row.
        space: how many values are possible. A small space is counted out, a large one sorted.
    """
    if space > CHEAP_SPACE + 4 * len(values):
        found, dense = np.unique(values, return_inverse=True)
        order, numbers = distinct(dense.reshape(-1).astype(np.int64), len(found))
        return found[order], numbers
    first = np.full(space, len(values), np.int64)
    np.minimum.at(first, values, np.arange(len(values)))
    present = np.flatnonzero(first < len(values))
    present = present[np.argsort(first[present])]
    numbers = np.empty(space, np.int64)
    numbers[present] = np.arange(len(present))
    return present, numbers[values]
