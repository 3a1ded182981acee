"""Map columns as the flat columns of their keys and values, and back to one text for each map."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def entries(column: pa.MapArray) -> tuple[pa.Array, pa.Array]:
    """The keys and the values of all maps (none of them null), one after another."""
    begin, end = column.offsets[0].as_py(), column.offsets[-1].as_py()
    return column.keys[begin:end], column.items[begin:end]


def _in_order(column: pa.MapArray) -> tuple[pa.Array, pa.Array]:
    """As `entries`, those of each map by key."""
    keys, values = entries(column)
    rows = np.repeat(np.arange(len(column)), np.diff(column.offsets.to_numpy()))
    table = pa.table({"row": rows, "key": keys})
    order = pc.sort_indices(table, [("row", "ascending"), ("key", "ascending")])
    return keys.take(order), values.take(order)


def together(column: pa.MapArray, texts: pa.Array) -> pa.Array:
    """The texts of each map's entries put together."""
    ends = pc.subtract(column.offsets, column.offsets[0])
    return pc.binary_join(pa.ListArray.from_arrays(ends, texts), "")


def series_keys(windows: pa.Table) -> pa.Array:
    """A text for each window (in one chunk) that tells its series; no part of it holds a NUL."""
    columns = {name: windows[name].combine_chunks() for name in ("metric", "window", "dimensions")}
    dimensions = columns["dimensions"]
    names, values = _in_order(dimensions)
    pairs = pc.binary_join_element_wise("\0", names, "\0", values, "")
    parts = columns["metric"], columns["window"], together(dimensions, pairs)
    return pc.binary_join_element_wise(*parts, "\0")
