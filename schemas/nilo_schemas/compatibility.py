"""Whether one Avro contract can read what another wrote, and which field is in the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from avro.compatibility import ReaderWriterCompatibilityChecker
from avro.schema import parse
from fastavro.schema import SchemaParseException, expand_schema

Schema = Any


def breaks(reader: Schema, writer: Schema) -> Iterator[str]:
    """Why `reader` cannot read data of `writer`, one line per field; nothing when it can.

    The checker of the avro library loses the field's place inside unions, so it is asked field
    by field; and it looks past logical types, though a time read as a number is another value.
    """
    try:
        expanded = expand_schema(reader), expand_schema(writer)
    except SchemaParseException as error:
        yield f"no valid Avro schema: {error}"
        return
    yield from _records("", *expanded)


def _records(path: str, reader: Schema, writer: Schema) -> Iterator[str]:
    if reader["name"] != writer["name"]:
        yield f"{_at(path)}record {reader['name']} cannot read record {writer['name']}"
    written = {field["name"]: field["type"] for field in writer["fields"]}
    for field in reader["fields"]:
        name = f"{path}.{field['name']}" if path else field["name"]
        if field["name"] in written:
            yield from _types(name, field["type"], written[field["name"]])
        elif "default" not in field:
            yield f"field {name}: is not in the other one and has no default"


def _types(name: str, reader: Schema, writer: Schema) -> Iterator[str]:
    (read, nullable), (written, may_be_null) = _branch(reader), _branch(writer)
    if may_be_null and not nullable:
        yield f"{_at(name)}may be null in the other one"
    kinds = _kind(read), _kind(written)
    if kinds == ("record", "record"):
        yield from _records(name, read, written)
    elif kinds == ("array", "array"):
        yield from _types(f"{name}[]", read["items"], written["items"])
    elif kinds == ("map", "map"):
        yield from _types(f"{name}{{}}", read["values"], written["values"])
    elif _logical(read) != _logical(written):
        yield f"{_at(name)}{_logical(written) or kinds[1]} is not {_logical(read) or kinds[0]}"
    else:
        yield from _simple(name, read, written)


def _simple(name: str, reader: Schema, writer: Schema) -> Iterator[str]:
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # avro's own
    result = checker.get_compatibility(parse(json.dumps(reader)), parse(json.dumps(writer)))
    if result.incompatibilities:
        yield f"{_at(name)}{', '.join(sorted(result.messages))}"


def _at(name: str) -> str:
    return f"field {name}: " if name else ""


def _branch(schema: Schema) -> tuple[Schema, bool]:
    """A type without its null, and whether it had one; a union of several types stays whole."""
    if not isinstance(schema, list):
        return schema, False
    others = [branch for branch in schema if branch != "null"]
    return (others[0] if len(others) == 1 else schema), "null" in schema


def _kind(schema: Schema) -> str:
    return str(schema["type"]) if isinstance(schema, dict) else str(schema)


def _logical(schema: Schema) -> str | None:
    return schema.get("logicalType") if isinstance(schema, dict) else None
