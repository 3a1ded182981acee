"""How the columns of a store are read with a new contract: as if the contract had written them.

A store has no writer's schema. What its files hold is taken for the reader's own types, cast where
Arrow's types differ; what they lack is the default, and null where there is a default means it.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

Schema = dict[str, Any]


def lenient(kind: Any) -> Any:
    """A contract (not expanded) in which null will do for every field that has a default."""
    if isinstance(kind, list):
        return [lenient(branch) for branch in kind]
    if not isinstance(kind, dict):
        return kind
    if kind["type"] == "record":
        return kind | {"fields": [_lenient_field(field) for field in kind["fields"]]}
    return kind | {name: lenient(kind[name]) for name in ("items", "values") if name in kind}


def _lenient_field(field: Schema) -> Schema:
    kind = lenient(field["type"])
    if "default" not in field or isinstance(kind, list):
        return field | {"type": kind}
    # A default is one of the first branch.
    return field | {"type": [kind, "null"]}


def as_written(kind: Any, stored: pa.DataType, wanted: pa.DataType) -> Any:
    """A type of the reader (expanded) as the writer's of a stored column; None: does not cast.

    Args:
        stored: the column's type.
        wanted: the reader's in Arrow.
    """
    inner = next((each for each in kind if each != "null"), "null") if _is_union(kind) else kind
    written = _as_written(inner, stored, wanted)
    return None if written is None else ["null", written]


def _is_union(kind: Any) -> bool:
    return isinstance(kind, list)


def _as_written(kind: Any, stored: pa.DataType, wanted: pa.DataType) -> Any:
    base = kind["type"] if isinstance(kind, dict) else kind
    if base == "record" and pa.types.is_struct(stored):
        return _as_record(kind, stored, wanted)
    if base == "array" and pa.types.is_list(stored):
        items = as_written(kind["items"], stored.value_type, wanted.value_type)
        return None if items is None else kind | {"items": items}
    if base == "map" and pa.types.is_map(stored):
        values = as_written(kind["values"], stored.item_type, wanted.item_type)
        return None if values is None else kind | {"values": values}
    if base == "enum" and not pa.types.is_string(stored):
        return None
    return kind if _casts(stored, wanted) else None


def _as_record(kind: Schema, stored: pa.StructType, wanted: pa.StructType) -> Schema | None:
    fields = []
    for field in kind["fields"]:
        place = stored.get_field_index(field["name"])
        if place >= 0:
            inner = as_written(
                field["type"], stored.field(place).type, wanted.field(field["name"]).type
            )
            if inner is None:
                return None
            fields.append({"name": field["name"], "type": inner})
    return kind | {"fields": fields}


def _casts(stored: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_nested(stored) or pa.types.is_nested(wanted):
        return False
    if pa.types.is_boolean(wanted) and not (
        pa.types.is_boolean(stored) or pa.types.is_string(stored)
    ):
        return False  # Arrow makes true of any number but 0
    try:
        pa.array([], stored).cast(wanted)
    except pa.ArrowNotImplementedError:
        return False
    return True
