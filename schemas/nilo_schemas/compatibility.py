"""Whether one Avro contract can read what another wrote, and which field is in the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from avro.compatibility import ReaderWriterCompatibilityChecker
from avro.schema import parse
from fastavro.schema import expand_schema

Schema = Any


def breaks(reader: Schema, writer: Schema) -> Iterator[str]:
    """Why `reader` cannot read data of `writer`, one line per field; nothing when it can.

    The checker of the avro library loses the field's place inside unions, so it is asked field
    by field.
    """
    if reader["name"] != writer["name"]:
        yield f"record {reader['name']} cannot read record {writer['name']}"
    yield from _fields("", expand_schema(reader), expand_schema(writer))


def _fields(path: str, reader: Schema, writer: Schema) -> Iterator[str]:
    written = {field["name"]: field["type"] for field in writer["fields"]}
    for field in reader["fields"]:
        name = f"{path}{field['name']}"
        if field["name"] in written:
            yield from _types(name, field["type"], written[field["name"]])
        elif "default" not in field:
            yield f"field {name}: is not in the other one and has no default"


def _types(name: str, reader: Schema, writer: Schema) -> Iterator[str]:
    inner = _as_record(reader), _as_record(writer)
    if all(inner) and isinstance(reader, list) >= isinstance(writer, list):
        yield from _fields(f"{name}.", *inner)
        return
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # avro's own
    result = checker.get_compatibility(parse(json.dumps(reader)), parse(json.dumps(writer)))
    if result.incompatibilities:
        yield f"field {name}: {', '.join(sorted(result.messages))}"


def _as_record(schema: Schema) -> Schema | None:
    """The record in a field's type, plain or nullable."""
    for branch in schema if isinstance(schema, list) else [schema]:
        if isinstance(branch, dict) and branch["type"] == "record":
            return branch
    return None
