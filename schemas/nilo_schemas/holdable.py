"""The values of a batch that no store can hold or no sum survives, found before they do harm.

The rules of the models run at the producer and in `decode`; for a foreign producer this is the
last line: text without NUL and in UTF-8, times that Python and PostgreSQL know, finite numbers
within the bounds of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic.fields import FieldInfo

from nilo_schemas.arrow import arrow_schema
from nilo_schemas.errors import DecodeError, Reason
from nilo_schemas.record import Record, converters, inner_type

Limits = Mapping[str, tuple[Any, Any]]
_FIRST = pa.scalar(datetime.min.replace(tzinfo=UTC), pa.timestamp("us", "UTC"))
_LAST = pa.scalar(datetime.max.replace(tzinfo=UTC), pa.timestamp("us", "UTC"))


def check(batch: pa.RecordBatch, limits: Limits) -> None:
    """Look through all columns.

    Args:
        batch: in the reader's schema.
        limits: least and greatest value of columns; None is no bound.

    Raises:
        DecodeError: a value cannot be held; it names the field.
    """
    try:
        batch.validate()
        for column in batch.columns:
            if not _is_ascii(column):
                column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DecodeError(Reason.CORRUPT, str(error)) from None
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        fault = _fault(column) or _out_of(column, *limits.get(name, (None, None)))
        if fault:
            raise DecodeError(Reason.INVALID, f"field {name}: {fault}", name)


def _is_ascii(column: pa.Array) -> bool:
    """Whether these are texts without other bytes: so quickly is seen that they are in UTF-8."""
    if not pa.types.is_string(column.type):
        return False
    data = column.buffers()[2]
    return data is None or not data.size or bool(np.frombuffer(data, np.int8).min() >= 0)


def _fault(column: pa.Array) -> str | None:
    kind = column.type
    if column.null_count == len(column):
        return None
    if pa.types.is_string(kind):
        return "has a NUL" if _has_nul(column) else None
    if pa.types.is_timestamp(kind):
        return _out_of(column, _FIRST, _LAST)
    if pa.types.is_floating(kind):
        return None if pc.all(pc.is_finite(column)).as_py() else "is not a finite number"
    return next((fault for part in _parts(column) if (fault := _fault(part))), None)


def _has_nul(column: pa.Array) -> bool:
    """Whether a text has a NUL: first the bytes of all are looked through, which is quick."""
    data = column.buffers()[2]
    if data is None or not data.size or np.frombuffer(data, np.uint8).min():
        return False
    # The bytes may be those of texts beside a slice, or of what is null.
    return bool(pc.any(pc.match_substring(column, "\x00")).as_py())


def _parts(column: pa.Array) -> list[pa.Array]:
    if pa.types.is_struct(column.type):
        return list(column.flatten())
    if pa.types.is_map(column.type):
        return [column.keys, column.items]
    return [column.flatten()] if pa.types.is_list(column.type) else []


def _out_of(column: pa.Array, low: Any, high: Any) -> str | None:
    if low is None and high is None:
        return None
    ends = pc.min_max(column)
    if low is not None and pc.less(ends["min"], low).as_py():
        return f"is below {low}"
    if high is not None and pc.greater(ends["max"], high).as_py():
        return f"is above {high}"
    return None


def limits(record: type[Record], schema: pa.Schema) -> Limits:
    """The bounds of the record's fields that have a column of their type in an Arrow schema."""
    ours = arrow_schema(record)
    return {
        name: bound
        for name, bound in _bounds(record).items()
        if name in schema.names and schema.field(name).type == ours.field(name).type
    }


@cache
def _bounds(record: type[Record]) -> dict[str, tuple[Any, Any]]:
    """Least and greatest value of each bounded field, as Avro carries them; None is no bound."""
    return {
        name: (_bound(record, name, info, "ge"), _bound(record, name, info, "le"))
        for name, info in record.model_fields.items()
    }


def _bound(record: type[Record], name: str, info: FieldInfo, way: str) -> Any:
    marks = list(info.metadata)
    annotation = inner_type(info.annotation)[0]
    while hasattr(annotation, "__metadata__"):
        marks += annotation.__metadata__
        annotation = annotation.__origin__
    inside = [each for mark in marks for each in getattr(mark, "metadata", [mark])]
    found = [getattr(each, way) for each in inside if hasattr(each, way)]
    if not found:
        return None
    limit = max(found) if way == "ge" else min(found)
    to_avro = converters(record).get(name, (lambda value: value,))[0]
    return to_avro(limit)
