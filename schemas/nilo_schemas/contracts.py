"""Avro contracts: generated from the models, kept as numbered versions, checked against each other.

`avro/<topic>/<n>.avsc` is version n; the highest is the one in force. Neither py-avro-schema nor
dataclasses-avroschema gives our types (a timedelta becomes a 12-byte fixed or a double, a Decimal
bytes), so the mapping is here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import AwareDatetime
from pydantic.fields import FieldInfo

from nilo_schemas.alerts import Alert, Silence
from nilo_schemas.errors import ContractError
from nilo_schemas.families import families
from nilo_schemas.fields import AvroInt, duration_to_long, money_to_long
from nilo_schemas.notified import Notified
from nilo_schemas.record import Part, Record, inner_type, plain_type
from nilo_schemas.results import MetricWindow

FOLDER = Path(__file__).parent / "avro"
NAMESPACE = "nilo"
_PLAIN: dict[Any, Any] = {
    str: "string",
    bool: "boolean",
    int: "long",
    float: "double",
    timedelta: "long",
    Decimal: "long",
    AwareDatetime: {"type": "long", "logicalType": "timestamp-micros"},
}
_UNITS = {timedelta: "microseconds", Decimal: "nano-dollars"}


def records() -> dict[str, type[Record]]:
    """Every record that has a contract, by its topic."""
    unkept: tuple[type[Record], ...] = (Silence, Notified)
    return stored_records() | {record.kafka_topic: record for record in unkept}


def stored_records() -> dict[str, type[Record]]:
    """The records that stores keep, by their topic: the event families and the results."""
    results: tuple[type[Record], ...] = (MetricWindow, Alert)
    return {**families(), **{record.kafka_topic: record for record in results}}


@cache
def contract(model: type[Part]) -> dict[str, Any]:
    """The Avro schema of a model; raises ContractError for a type that Avro cannot carry."""
    return _record(model, set())


def _record(model: type[Part], named: set[str]) -> dict[str, Any]:
    return {
        "type": "record",
        "name": model.__name__,
        "namespace": NAMESPACE,
        "doc": (model.__doc__ or "").split("\n")[0],
        "fields": [
            _field(f"{model.__name__}.{name}", name, info, named)
            for name, info in model.model_fields.items()
        ],
    }


def _field(path: str, name: str, info: FieldInfo, named: set[str]) -> dict[str, Any]:
    annotation, nullable = inner_type(info.annotation)
    avro = _type(path, annotation, list(info.metadata), named)
    field: dict[str, Any] = {"name": name, "type": ["null", avro] if nullable else avro}
    about = [info.description, _UNITS.get(plain_type(annotation))]
    if any(about):
        field["doc"] = "; ".join(part for part in about if part)
    if nullable or _has_default(info):
        field["default"] = _default(path, info, nullable)
    return field


def _has_default(info: FieldInfo) -> bool:
    """Whether a default is a value; one that is made afresh (id, time) cannot be in a contract."""
    return not info.is_required() and info.default_factory in (None, dict, list)


def _default(path: str, info: FieldInfo, nullable: bool) -> Any:
    default = info.get_default(call_default_factory=True) if _has_default(info) else None
    if nullable and default is not None:
        raise ContractError(f"{path}: a field that may be None must have None as its default")
    if isinstance(default, timedelta):
        default = duration_to_long(default)
    elif isinstance(default, Decimal):
        default = money_to_long(default)
    elif isinstance(default, Enum):
        default = default.value
    try:
        json.dumps(default)
    except TypeError:
        raise ContractError(f"{path}: the default {default!r} has no place in a contract") from None
    return default


def _type(path: str, annotation: Any, metadata: list[Any], named: set[str]) -> Any:
    while hasattr(annotation, "__metadata__"):
        metadata += annotation.__metadata__
        annotation = annotation.__origin__
    if annotation is int and any(isinstance(mark, AvroInt) for mark in metadata):
        return "int"
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "string"
    if origin is dict:
        return {"type": "map", "values": _type(path, arguments[1], [], named)}
    if origin is list:
        return {"type": "array", "items": _type(path, arguments[0], [], named)}
    return _named(path, annotation, named)


def _named(path: str, kind: Any, named: set[str]) -> Any:
    if not (isinstance(kind, type) and issubclass(kind, (Part, Enum))):
        raise ContractError(f"{path}: {kind} has no Avro type in our contracts")
    if kind.__name__ in named:
        return f"{NAMESPACE}.{kind.__name__}"
    named.add(kind.__name__)
    if issubclass(kind, Part):
        return _record(kind, named)
    symbols = [member.value for member in kind]
    # Without a default of its own an enum could never gain a symbol: old readers would fail on it.
    default = "INFO" if "INFO" in symbols else symbols[0]
    return {"type": "enum", "name": kind.__name__, "symbols": symbols, "default": default}


def text(schema: dict[str, Any]) -> str:
    """A contract as it is written to its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def versions(topic: str, folder: Path = FOLDER) -> dict[int, dict[str, Any]]:
    """The committed versions of a topic's contract, oldest first; raises ContractError."""
    files = sorted((folder / topic).glob("*.avsc"), key=_number)
    return {_number(file): _read(file) for file in files}


def _number(file: Path) -> int:
    if not file.stem.isdecimal():
        raise ContractError(f"{file}: the name of a contract is its version number, such as 1.avsc")
    return int(file.stem)


def _read(file: Path) -> dict[str, Any]:
    try:
        schema: dict[str, Any] = json.loads(file.read_text())
    except ValueError as error:
        raise ContractError(f"{file} is not JSON: {error}") from None
    return schema


def write_changed(folder: Path = FOLDER) -> Iterator[Path]:
    """Write a next version for each contract that differs from its newest; yield the files."""
    for topic, record in records().items():
        kept = versions(topic, folder)
        if not kept or kept[max(kept)] != contract(record):
            path = folder / topic / f"{max(kept, default=0) + 1}.avsc"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(contract(record)))
            yield path


def problems(folder: Path = FOLDER) -> Iterator[str]:
    """What is wrong with the committed contracts, one line each; nothing when all is well.

    Each version must read and be read by every earlier one (FULL_TRANSITIVE), and the newest
    must be what its model says.
    """
    for topic, record in records().items():
        kept = versions(topic, folder)
        if not kept or kept[max(kept)] != contract(record):
            yield f"{topic}: model and contract differ; `nilo schemas generate` writes the next one"
        for line in incompatibilities(contract(record), kept):
            yield f"{topic}: {line}"


def incompatibilities(
    schema: dict[str, Any], earlier: Mapping[int, dict[str, Any]], name: str = "the model"
) -> Iterator[str]:
    """Where a schema breaks FULL_TRANSITIVE, one line each.

    Args:
        schema: what is to be the next version.
        earlier: the versions so far, by number.
        name: what the schema is called.
    """
    from nilo_schemas.compatibility import breaks  # noqa: PLC0415  avro is not in the base install

    for number, version in earlier.items():
        for reader, writer, way in (
            (schema, version, f"{name} cannot read version {number}"),
            (version, schema, f"version {number} cannot read {name}"),
        ):
            for detail in breaks(reader, writer):
                yield f"{way}: {detail}"
