"""Arrow columns to JSON text, column by column: no Python per row."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_SPECIAL = r'["\\\x00-\x1f]'


def json_text(column: pa.Array) -> pa.Array:
    """The JSON text of each value of a column; null stays null.

    Lists, maps with string keys and structs nest. Numbers are finite and text is without NUL:
    the decoder lets nothing else through.
    """
    kind = column.type
    if pa.types.is_map(kind):
        return _joined(column, _pairs(column), "{", "}")
    if pa.types.is_list(kind):
        return _joined(column, json_text(column.flatten()), "[", "]")
    if pa.types.is_struct(kind):
        return _struct(column)
    if pa.types.is_string(kind):
        return _quoted(column)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.string())
    raise TypeError(f"{kind} has no JSON text in our tables")


def _quoted(column: pa.Array) -> pa.Array:
    special = pc.fill_null(pc.match_substring_regex(column, _SPECIAL), False)
    if pc.any(special).as_py():
        # Rare, so only those few values pass through Python.
        escaped = [
            json.dumps(text, ensure_ascii=False) for text in column.filter(special).to_pylist()
        ]
        plain = _around('"', column, '"')
        return pc.replace_with_mask(plain, special, pa.array(escaped, pa.string()))
    return _around('"', column, '"')


def _around(before: str, column: pa.Array, after: str) -> pa.Array:
    return pc.binary_join_element_wise(before, column, after, "")


def _pairs(column: pa.Array) -> pa.Array:
    """`"key":value` for each entry of all maps."""
    entries = pc.list_flatten(column.cast(_as_list(column.type)))
    keys, values = entries.field(0), entries.field(1)
    return pc.binary_join_element_wise(_quoted(keys), _or_null(json_text(values)), ":")


def _as_list(kind: pa.MapType) -> pa.ListType:
    return pa.list_(pa.struct([kind.key_field, kind.item_field]))


def _joined(column: pa.Array, items: pa.Array, before: str, after: str) -> pa.Array:
    """The items of each list put together, by the lengths of the lists."""
    lengths = pc.fill_null(_lengths(column), 0)
    ends = pc.cumulative_sum(lengths.cast(pa.int32()))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    lists = pa.ListArray.from_arrays(offsets, _or_null(items))
    text = _around(before, pc.binary_join(lists, ","), after)
    return pc.if_else(pc.is_valid(column), text, pa.scalar(None, pa.string()))


def _lengths(column: pa.Array) -> Any:
    if pa.types.is_map(column.type):
        column = column.cast(_as_list(column.type))
    return pc.list_value_length(column)


def _struct(column: pa.Array) -> pa.Array:
    members = [
        _around(f"{json.dumps(field.name)}:", _or_null(json_text(values)), "")
        for field, values in zip(column.type, column.flatten(), strict=True)
    ]
    text = _around("{", pc.binary_join_element_wise(*members, ","), "}")
    return pc.if_else(pc.is_valid(column), text, pa.scalar(None, pa.string()))


def _or_null(column: pa.Array) -> pa.Array:
    return pc.fill_null(column, "null")
