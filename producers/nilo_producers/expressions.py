"""What a mapping says about one field: which columns it is made of, and how.

column          the value as it is
column:unit     a duration in s, ms, us or ns; a time since 1970 in these units (`ms`), since
                the mapping's start (`+ms`), or as local time of a zone (`America/New_York`)
column:length   characters of a text; `sha256` its hash; `word` its first word
one|other       the first of these columns that is not empty
'text {column}' a text, with the values of columns in it; `{@file}` is the file's name
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_origin

from pydantic import AwareDatetime

from nilo_producers.errors import MappingError
from nilo_producers.values import (
    EPOCH,
    MICROSECONDS,
    OF_TEXT,
    Convert,
    in_zone,
    since,
    to_duration,
    to_time,
    zone,
)

Row = Mapping[str, Any]
Get = Callable[[Row], Any]
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_QUOTES = ("'", '"')


@dataclass(frozen=True)
class Context:
    """What an expression may refer to: the file, its columns, and the start of its clock."""

    file: str
    columns: tuple[str, ...]
    start: datetime


@dataclass(frozen=True)
class Expression:
    """The columns that are read, and the value made of a row of them; None is no value."""

    columns: frozenset[str]
    get: Get


def parse_expression(field: str, text: str, kind: Any, context: Context) -> Expression:
    """Read an expression for a field whose plain type is `kind`.

    Raises:
        MappingError: an unknown column, or a unit that does not suit the field.
    """
    if len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0]:
        return _template(field, text[1:-1], _default(kind), context)
    names, unit = _split(text, context.columns)
    columns = tuple(names.split("|")) if names not in context.columns else (names,)
    for column in columns:
        _check_column(field, column, context)
    return Expression(frozenset(columns), _first(columns, _conversion(field, unit, kind, context)))


def _split(text: str, columns: tuple[str, ...]) -> tuple[str, str | None]:
    if ":" not in text or text in columns:
        return text, None
    names, _, unit = text.rpartition(":")
    return names, unit


def _check_column(field: str, column: str, context: Context) -> None:
    if column not in context.columns:
        raise MappingError(
            f"{field}: {context.file} has no column {column!r}; it has "
            f"{', '.join(context.columns)}; a fixed text goes in quotes: {field}='{column}'"
        )


def _first(columns: tuple[str, ...], convert: Convert) -> Get:
    if len(columns) == 1:
        only = columns[0]

        def get(row: Row) -> Any:
            value = row[only]
            return None if value is None else convert(value)

        return get

    def get_first(row: Row) -> Any:
        return next((convert(row[name]) for name in columns if row[name] is not None), None)

    return get_first


def _template(field: str, text: str, convert: Convert, context: Context) -> Expression:
    text = text.replace("{@file}", context.file.rpartition(".")[0] or context.file)
    columns = _PLACEHOLDER.findall(text)
    for column in columns:
        _check_column(field, column, context)
    if not columns:
        fixed = convert(text)
        return Expression(frozenset(), lambda _row: fixed)
    pieces = _PLACEHOLDER.split(text)

    def get(row: Row) -> Any:
        values = [row[column] for column in columns]
        if any(value is None for value in values):
            return None
        parts = [piece if i % 2 == 0 else str(row[piece]) for i, piece in enumerate(pieces)]
        return convert("".join(parts))

    return Expression(frozenset(columns), get)


def _conversion(field: str, unit: str | None, kind: Any, context: Context) -> Convert:
    if unit is None:
        return _default(kind)
    if unit in OF_TEXT:
        return OF_TEXT[unit]
    if kind is AwareDatetime:
        return _time_conversion(unit, context)
    if kind is timedelta and unit in MICROSECONDS:
        return lambda value: to_duration(value, unit)
    fitting = [*(MICROSECONDS if kind is timedelta else ()), *OF_TEXT]
    raise MappingError(f"{field}: no conversion {unit!r} for it; there are {', '.join(fitting)}")


def _time_conversion(unit: str, context: Context) -> Convert:
    if unit in MICROSECONDS:
        return since(EPOCH, unit)
    if unit.removeprefix("+") in MICROSECONDS:
        return since(context.start, unit.removeprefix("+"))
    return in_zone(zone(unit))


def _default(kind: Any) -> Convert:
    if kind is AwareDatetime:
        return to_time
    if kind is timedelta:
        return _plain_duration
    if kind is str or get_origin(kind) is Literal:
        return str
    return lambda value: value


def _plain_duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    raise ValueError(f"{value!r} has no unit: name it, as in duration=column:ms (s, ms, us, ns)")
