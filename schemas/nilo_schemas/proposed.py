"""A contract that is not in force yet: read from a file, and held to what ours can say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nilo_schemas.arrow import arrow_schema_of
from nilo_schemas.contracts import NAMESPACE, records
from nilo_schemas.errors import ContractError, DecodeError
from nilo_schemas.foreign import expanded

Schema = dict[str, Any]
_PLAIN = ("string", "boolean", "int", "long", "double")
_KNOWN = (
    "our contracts have string, boolean, int, long, double, timestamp-micros, enums, records, "
    "arrays, maps, and unions of null with one of these"
)
_ALIASES = "aliases are not read by our decoders: a new name is a new field"


def proposed(file: Path) -> Schema:
    """The record schema in a file, as it stands there.

    Raises:
        ContractError: the file cannot be read, or its schema has what our decoders and tables
            cannot carry.
    """
    schema = _json(file)
    if not (isinstance(schema, dict) and schema.get("type") == "record"):
        raise ContractError(f"{file} is not the Avro schema of a record")
    try:
        fault = next(_faults("", expanded(schema)), None)
        if fault is None:
            arrow_schema_of(schema)
    except DecodeError as error:
        fault = error.detail
    except ValueError as error:
        fault = str(error)
    if fault:
        raise ContractError(f"{file}: {fault}")
    return schema


def topic_of(schema: Schema) -> str:
    """The topic (without prefix) whose record has the full name of this one; or ContractError."""
    name = expanded(schema)["name"]
    topics = {f"{NAMESPACE}.{record.__name__}": topic for topic, record in records().items()}
    if name not in topics:
        raise ContractError(
            f"no topic has the record {name}; there are {', '.join(topics)}: "
            "name the record so, or its topic with --topic"
        )
    return topics[name]


def _json(file: Path) -> Schema:
    try:
        schema: Schema = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ContractError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{file} is not JSON, as an Avro schema is: {error}") from None
    return schema


def _faults(path: str, kind: Any) -> Iterator[str]:
    """What of an expanded type our contracts cannot say."""
    if isinstance(kind, list) and len(kind) == 2 and "null" in kind:
        yield from _faults(path, next((each for each in kind if each != "null"), "null"))
    elif isinstance(kind, dict) and "aliases" in kind:
        yield f"{_at(path)}{_ALIASES}"
    elif not isinstance(kind, dict) or kind["type"] not in _INSIDE:
        if kind not in _PLAIN and not _is_time(kind):
            yield f"{_at(path)}cannot be of the type {json.dumps(kind)[:200]}: {_KNOWN}"
    else:
        yield from _INSIDE[kind["type"]](path, kind)


def _record(path: str, kind: Schema) -> Iterator[str]:
    names = [field["name"] for field in kind["fields"]]
    if not names:
        yield f"{_at(path)}a record needs a field"
    for field in kind["fields"]:
        name = _under(path, field)
        if names.count(field["name"]) > 1:
            yield f"{_at(name)}is there twice"
        if "aliases" in field:
            yield f"{_at(name)}{_ALIASES}"
        if _is_no_symbol(field):
            yield f"{_at(name)}the default {field['default']!r} is no symbol of its enum"
        yield from _faults(name, field["type"])


_INSIDE: dict[str, Callable[[str, Schema], Iterator[str]]] = {
    "record": _record,
    "enum": lambda _path, _kind: iter(()),
    "array": lambda path, kind: _faults(f"{path}[]", kind["items"]),
    "map": lambda path, kind: _faults(f"{path}{{}}", kind["values"]),
}


def _is_time(kind: Any) -> bool:
    return isinstance(kind, dict) and (kind["type"], kind.get("logicalType")) == (
        "long", "timestamp-micros",
    )  # fmt: skip


def _is_no_symbol(field: Schema) -> bool:
    """Whether the default of a field is no symbol of its enum; fastavro sees all other mistakes."""
    kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
    enums = [kind for kind in kinds if isinstance(kind, dict) and kind["type"] == "enum"]
    default = field.get("default")
    return default is not None and any(default not in enum["symbols"] for enum in enums)


def _under(path: str, field: Schema) -> str:
    return f"{path}.{field['name']}" if path else str(field["name"])


def _at(path: str) -> str:
    return f"field {path}: " if path else ""
