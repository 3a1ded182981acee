"""Arrow schemas of our contracts, and batches of an older or newer writer brought to them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyruhvro

from nilo_schemas.contracts import contract
from nilo_schemas.errors import DecodeError, Reason
from nilo_schemas.record import Record

_WIDER = {"int": ("long", "float", "double"), "long": ("float", "double"), "float": ("double",)}
_TIMES = ("timestamp-millis", "timestamp-micros")
_EXACT = "exact"  # of a double in a reader's schema, ours alone


@cache
def arrow_schema(record: type[Record]) -> pa.Schema:
    """The Arrow schema of a record's batches; timestamps are microseconds in UTC."""
    return arrow_schema_of(contract(record))


def arrow_schema_of(schema: dict[str, Any]) -> pa.Schema:
    """The same of a contract that no model has; it is not expanded."""
    raw = pa.schema(pyruhvro.avro_to_arrow_schema(json.dumps(schema)))
    return pa.schema([pa.field(field.name, _in_utc(field.type), field.nullable) for field in raw])


def _in_utc(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_in_utc(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_in_utc(kind.value_type)))
    if pa.types.is_map(kind):
        return pa.map_(kind.key_field, kind.item_field.with_type(_in_utc(kind.item_type)))
    return pa.timestamp("us", "UTC") if pa.types.is_timestamp(kind) else kind


def conform(
    batch: pa.RecordBatch, writer: dict[str, Any], reader: dict[str, Any], schema: pa.Schema
) -> pa.RecordBatch:
    """A batch decoded with the writer's schema, as the reader's schema would have read it.

    Fields that the writer did not know get the reader's defaults, fields that the reader does
    not know go, numbers widen, and enum symbols that the reader does not know become its default;
    in nested records, lists and maps likewise. Both schemas are expanded (no named references).

    Raises:
        DecodeError: the schemas do not fit (an empty batch shows it), or a value does not.
        pyarrow.ArrowInvalid: the schemas are equal, and an `int` needs more than 32 bits.
    """
    if writer == reader:
        columns = [
            column.cast(field.type) if column.type != field.type else column
            for column, field in zip(batch.columns, schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)
    _same_name("", writer, reader)
    found = dict(zip(batch.schema.names, batch.columns, strict=True))
    return pa.RecordBatch.from_arrays(
        _children("", found, (writer, reader), schema, batch.num_rows), schema=schema
    )


def _children(
    path: str,
    found: dict[str, pa.Array],
    records: tuple[dict[str, Any], dict[str, Any]],
    targets: Iterable[pa.Field],
    rows: int,
) -> list[pa.Array]:
    """The columns of a record's fields in the reader's order and types."""
    writer, reader = records
    written = {field["name"]: field["type"] for field in writer["fields"]}
    columns = []
    for field, target in zip(reader["fields"], targets, strict=True):
        name = f"{path}{field['name']}"
        if field["name"] in written:
            kinds = written[field["name"]], field["type"]
            columns.append(_resolved(name, found[field["name"]], *kinds, target.type))
        elif "default" in field:
            columns.append(_repeated(field["default"], target.type, rows))
        else:
            raise _misfit(name, "is missing and has no default")
    return columns


def _resolved(
    name: str, column: pa.Array, writer: Any, reader: Any, target: pa.DataType
) -> pa.Array:
    (written, _), (read, nullable) = _branch(writer), _branch(reader)
    if column.null_count and not nullable:
        raise _misfit(name, "is null")
    if written == "null":
        if not nullable:
            raise _misfit(name, "is always null")
        return pa.nulls(len(column), target)
    kinds = _kind(written), _kind(read)
    if kinds[0] == kinds[1] in _NESTED:
        return _NESTED[kinds[0]](name, column, written, read, target)
    if kinds[0] != kinds[1] and kinds[1] not in _WIDER.get(kinds[0], ()):
        raise _misfit(name, f"{kinds[0]} is not {kinds[1]}")
    try:
        if kinds[0] == "int":
            column = column.cast(pa.int32())
        return column.cast(target, safe=not pa.types.is_floating(target) or _is_exact(read))
    except pa.ArrowInvalid as error:
        raise DecodeError(Reason.CORRUPT, f"field {name}: {error}", name) from None


def _record(name: str, column: pa.Array, writer: Any, reader: Any, target: Any) -> pa.Array:
    _same_name(name, writer, reader)
    valid = column.is_valid()
    # Where the record is null its fields are too, and that is no fault of theirs.
    kept = column.filter(valid) if column.null_count else column
    found = {kept.type.field(i).name: kept.field(i) for i in range(kept.type.num_fields)}
    children = _children(f"{name}.", found, (writer, reader), target, len(kept))
    records = pa.StructArray.from_arrays(children, fields=list(target))
    if not column.null_count:
        return records
    places = pc.subtract(pc.cumulative_sum(valid.cast(pa.int64())), 1)
    return records.take(pc.if_else(valid, places, None))


def _list(name: str, column: pa.Array, writer: Any, reader: Any, target: Any) -> pa.Array:
    items = _resolved(
        f"{name}[]", column.values, writer["items"], reader["items"], target.value_type
    )
    mask = column.is_null() if column.null_count else None
    return pa.ListArray.from_arrays(column.offsets, items, type=target, mask=mask)


def _map(name: str, column: pa.Array, writer: Any, reader: Any, target: Any) -> pa.Array:
    items = _resolved(
        f"{name}{{}}", column.items, writer["values"], reader["values"], target.item_type
    )
    mask = column.is_null() if column.null_count else None
    return pa.MapArray.from_arrays(column.offsets, column.keys, items, type=target, mask=mask)


def _enum(name: str, column: pa.Array, writer: Any, reader: Any, _target: Any) -> pa.Array:
    _same_name(name, writer, reader)
    known = pc.is_in(column, value_set=pa.array(reader["symbols"]))
    strange = pc.and_(pc.invert(known), pc.is_valid(column))
    if "default" not in reader and pc.any(strange).as_py():
        raise _misfit(name, f"unknown symbol of enum {reader['name']}")
    return pc.if_else(strange, reader.get("default"), column)


_NESTED = {"record": _record, "array": _list, "map": _map, "enum": _enum}


def exact(kind: Any) -> Any:
    """A reader's type that refuses what the plain one takes with loss; takes an expanded schema.

    That are symbols which the reader's enum does not know, and whole numbers so large that doubles
    have gaps there (beyond 2**53).
    """
    if isinstance(kind, list):
        return [exact(branch) for branch in kind]
    if kind == "double":
        return {"type": "double", _EXACT: True}
    if not isinstance(kind, dict):
        return kind
    if kind["type"] == "record":
        fields = [{**field, "type": exact(field["type"])} for field in kind["fields"]]
        return {**kind, "fields": fields}
    if kind["type"] == "enum":
        return {name: value for name, value in kind.items() if name != "default"}
    return kind | {name: exact(kind[name]) for name in ("items", "values") if name in kind}


def _is_exact(kind: Any) -> bool:
    return isinstance(kind, dict) and _EXACT in kind


def _branch(kind: Any) -> tuple[Any, bool]:
    """A type without its `null` branch, and whether it had one."""
    if isinstance(kind, list):
        return next((branch for branch in kind if branch != "null"), "null"), "null" in kind
    return kind, False


def _kind(kind: Any) -> str:
    """`record`, `long` …; times are a kind of their own, whatever their unit."""
    if not isinstance(kind, dict):
        return str(kind)
    return "time" if kind.get("logicalType") in _TIMES else str(kind["type"])


def _same_name(path: str, writer: dict[str, Any], reader: dict[str, Any]) -> None:
    if writer["name"] != reader["name"]:
        raise _misfit(path, f"{writer['type']} {writer['name']} is not {reader['name']}")


def _misfit(path: str, problem: str) -> DecodeError:
    detail = f"field {path}: {problem}" if path else problem
    return DecodeError(Reason.INCOMPATIBLE, detail, path)


def _repeated(default: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if default is None:
        return pa.nulls(rows, kind)
    # pa.repeat fails on no rows of a map, and joins a map for each row
    return pa.array([_arrow_value(default, kind)], kind).take(pa.repeat(0, rows))


def _arrow_value(default: Any, kind: pa.DataType) -> Any:
    return list(default.items()) if pa.types.is_map(kind) else default
