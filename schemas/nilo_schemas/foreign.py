"""What pyruhvro is given of a writer's schema, and which foreign schemas it must never see.

It panics (a BaseException in Python) on unions of several types, bytes, fixed and the logical
types of times of day, decimals and UUIDs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fastavro.schema import expand_schema

from nilo_schemas.errors import DecodeError, Reason

_PRIMITIVES = ("null", "boolean", "long", "float", "double", "string")
_TIMES = ("timestamp-millis", "timestamp-micros")
# The five bytes of the framing, as fields: so a message is read whole, without a copy of its body.
FRAMING = ({"name": "__magic", "type": "boolean"}, {"name": "__schema_id", "type": "float"})


def expanded(schema: Any) -> dict[str, Any]:
    """A writer's schema with every named reference replaced by its definition.

    Raises:
        DecodeError: it is not the schema of a record.
    """
    try:
        whole = expand_schema(schema)
    except Exception as error:
        # fastavro answers a broken schema with whatever it leads it into: KeyError, TypeError…
        raise _refused(f"no Avro schema: {type(error).__name__}: {error}") from None
    if not (isinstance(whole, dict) and whole["type"] == "record"):
        raise _refused(f"not a record: {str(schema)[:200]}")
    return whole


def readable(schema: dict[str, Any]) -> dict[str, Any]:
    """A message, framing and body, in the words that pyruhvro knows; takes an expanded schema.

    `int` becomes `long`: the bytes are the same, and a number that needs more than 32 bits is then
    seen instead of cut.

    Raises:
        DecodeError: pyruhvro has no way to read it.
    """
    record = named_record(schema, itertools.count())
    return record | {"fields": [*FRAMING, *record["fields"]]}


def bodies(messages: pa.RecordBatch) -> pa.RecordBatch:
    """What was read by a `readable` schema, without the framing."""
    return messages.select(range(len(FRAMING), messages.num_columns))


def all_written_by(schema_id: int, messages: pa.RecordBatch) -> bool:
    """Whether the framing of all messages that a `readable` schema has read names this schema."""
    magic, number = messages.columns[:2]
    bits = np.frombuffer(number.buffers()[1], ">u4", len(number))
    return bool((bits == schema_id).all()) and not pc.any(magic).as_py()


def named_record(schema: dict[str, Any], names: Iterator[int]) -> dict[str, Any]:
    """An expanded schema as `readable` has it, without the framing, each record with a new name."""
    if not schema["fields"]:
        raise _refused(f"the record {schema['name']} without fields")
    fields = [
        {"name": field["name"], "type": _type(field["type"], names)} for field in schema["fields"]
    ]
    return {"type": "record", "name": f"n{next(names)}", "fields": fields}


def _type(kind: Any, names: Iterator[int]) -> Any:
    if isinstance(kind, list):
        if len(kind) != 2 or "null" not in kind:
            raise _refused(f"a union other than null with one type: {str(kind)[:200]}")
        return [_type(branch, names) for branch in kind]
    base = kind["type"] if isinstance(kind, dict) else kind
    if base == "record":
        return named_record(kind, names)
    if base == "enum":
        return {"type": "enum", "name": f"n{next(names)}", "symbols": kind["symbols"]}
    if base in ("array", "map"):
        return _collection(kind, names)
    return _primitive(kind, "long" if base == "int" else base)


def _collection(kind: dict[str, Any], names: Iterator[int]) -> dict[str, Any]:
    inside = "items" if kind["type"] == "array" else "values"
    if kind[inside] == "null":
        raise _refused(f"an {kind['type']} of nothing: a few bytes could fill the memory")
    return {"type": kind["type"], inside: _type(kind[inside], names)}


def _primitive(kind: Any, base: str) -> Any:
    if base not in _PRIMITIVES:
        raise _refused(f"the type {str(kind)[:200]}")
    if isinstance(kind, dict) and base == "long" and kind.get("logicalType") in _TIMES:
        return {"type": "long", "logicalType": kind["logicalType"]}
    return base


def _refused(what: str) -> DecodeError:
    return DecodeError(Reason.INCOMPATIBLE, f"cannot be read in batches: {what}")
