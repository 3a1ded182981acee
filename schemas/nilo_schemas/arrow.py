"""Arrow schemas of our contracts, and batches of an older or newer writer brought to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyruhvro

from nilo_schemas.contracts import contract
from nilo_schemas.record import Record


@cache
def arrow_schema(record: type[Record]) -> pa.Schema:
    """The Arrow schema of a record's batches; timestamps are microseconds in UTC."""
    raw = pa.schema(pyruhvro.avro_to_arrow_schema(json.dumps(contract(record))))
    return pa.schema([pa.field(field.name, _in_utc(field.type), field.nullable) for field in raw])


def _in_utc(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp("us", "UTC") if pa.types.is_timestamp(kind) else kind


def conform(
    batch: pa.RecordBatch, writer: dict[str, Any], reader: dict[str, Any], schema: pa.Schema
) -> pa.RecordBatch:
    """A batch decoded with the writer's schema, as the reader's schema would have read it.

    Fields that the writer did not know get the reader's defaults, fields that the reader does
    not know go, numbers widen, and enum symbols that the reader does not know become its default.

    Raises:
        pyarrow.ArrowInvalid: a value does not fit the reader's type.
    """
    if writer == reader:
        columns = [
            column.cast(field.type) if column.type != field.type else column
            for column, field in zip(batch.columns, schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)
    columns = [
        _column(batch, field, target)
        for field, target in zip(reader["fields"], schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _column(batch: pa.RecordBatch, field: dict[str, Any], target: pa.Field) -> pa.Array:
    if field["name"] not in batch.schema.names:
        if "default" not in field:
            raise pa.ArrowInvalid(f"field {field['name']} is missing and has no default")
        default = _arrow_value(field["default"])
        return pa.repeat(pa.scalar(default, target.type), batch.num_rows)
    column = batch.column(field["name"])
    if column.null_count and not target.nullable:
        raise pa.ArrowInvalid(f"field {field['name']} is null")
    try:
        column = column.cast(target.type)
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise pa.ArrowInvalid(f"field {field['name']}: {error}") from None
    return _known_symbols(column, field["type"])


def _known_symbols(column: pa.Array, kind: Any) -> pa.Array:
    branch = next((b for b in kind if b != "null"), kind) if isinstance(kind, list) else kind
    if not (isinstance(branch, dict) and branch["type"] == "enum"):
        return column
    known = pc.is_in(column, value_set=pa.array(branch["symbols"]))
    strange = pc.and_(pc.invert(known), pc.is_valid(column))
    if "default" not in branch and pc.any(strange).as_py():
        raise pa.ArrowInvalid(f"unknown symbol of enum {branch['name']}")
    return pc.if_else(strange, branch.get("default"), column)


def _arrow_value(default: Any) -> Any:
    return list(default.items()) if isinstance(default, dict) else default


def unreadable_union(schema: Any) -> str | None:
    """Say which union in a foreign schema pyruhvro cannot read (it panics on it); None if none."""
    for union in _unions(schema):
        if len([branch for branch in union if branch != "null"]) > 1:
            return f"a union of several types: {json.dumps(union)[:200]}"
    return None


def _unions(schema: Any) -> Iterator[list[Any]]:
    if isinstance(schema, list):
        yield schema
        for branch in schema:
            yield from _unions(branch)
    elif isinstance(schema, dict):
        for key in ("type", "items", "values"):
            yield from _unions(schema.get(key))
        for field in schema.get("fields", ()):
            yield from _unions(field["type"])
