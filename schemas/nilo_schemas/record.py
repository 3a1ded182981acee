"""The base of all that travels as Avro: a frozen pydantic model that belongs to one topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, ClassVar, Self, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel, ConfigDict

from nilo_schemas import fields

Converter = Callable[[Any], Any]


class Part(BaseModel):
    """A record nested in another one; frozen, and nothing unknown gets in."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_timedelta="float"
    )

    def to_avro(self) -> dict[str, Any]:
        """The values as Avro carries them: durations and money as integers."""
        values = dict(self.__dict__)
        for name, (to_avro, _) in converters(type(self)).items():
            if values[name] is not None:
                values[name] = to_avro(values[name])
        return values

    @classmethod
    def from_avro(cls, values: Mapping[str, Any]) -> Self:
        """The model of what Avro carried; raises ValueError (pydantic.ValidationError is one)."""
        converted = dict(values)
        for name, (_, from_avro) in converters(cls).items():
            if converted.get(name) is not None:
                converted[name] = from_avro(converted[name])
        return cls.model_validate(converted)


class Record(Part):
    """The value of a message of one topic; `kafka_topic` is its name without the prefix."""

    kafka_topic: ClassVar[str]


def inner_type(annotation: Any) -> tuple[Any, bool]:
    """The type of a field without its `| None`, and whether None is allowed."""
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) != 1 or len(members) == len(get_args(annotation)):
            raise TypeError(f"{annotation}: the only union allowed is one type with None")
        return members[0], True
    return annotation, False


def plain_type(annotation: Any) -> Any:
    """The type under `Annotated[…]`, however deep."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    return annotation


@cache
def converters(model: type[Part]) -> dict[str, tuple[Converter, Converter]]:
    """For each field whose Avro value differs from its Python value: how to go and come back."""
    found = {}
    for name, info in model.model_fields.items():
        pair = _converter(plain_type(inner_type(info.annotation)[0]))
        if pair:
            found[name] = pair
    return found


def _converter(kind: Any) -> tuple[Converter, Converter] | None:
    origin = get_origin(kind)
    if origin in (list, dict):
        inner, each = _converter(plain_type(get_args(kind)[-1])), _EACH[origin]
        return inner and (each(inner[0]), each(inner[1]))
    if isinstance(kind, type) and issubclass(kind, Part):
        return kind.to_avro, kind.from_avro
    if isinstance(kind, type) and issubclass(kind, Enum) and not issubclass(kind, str):
        return (lambda member: member.value), kind
    return _SCALARS.get(kind)


def _each_item(convert: Converter) -> Converter:
    return lambda values: [convert(value) for value in values]


def _each_value(convert: Converter) -> Converter:
    return lambda values: {key: convert(value) for key, value in values.items()}


_EACH = {list: _each_item, dict: _each_value}
_SCALARS: dict[Any, tuple[Converter, Converter]] = {
    timedelta: (fields.duration_to_long, fields.duration_from_long),
    AwareDatetime: (fields.time_to_avro, fields.time_from_avro),
    Decimal: (fields.money_to_long, fields.money_from_long),
}
