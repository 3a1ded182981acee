"""Which messages or rows of a batch are bad: halved until they stand alone, the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from nilo_schemas.arrow import conform
from nilo_schemas.errors import DecodeError, Reason
from nilo_schemas.holdable import Limits, check

T = TypeVar("T")
Indexes = list[int]


@dataclass(frozen=True)
class BadMessage:
    """A message that did not decode: its index in the input, the reason, and what happened.

    `field` is the field that is in the way, when it is one.
    """

    index: int
    reason: Reason
    detail: str
    field: str = ""


def bad_rows(
    batch: pa.RecordBatch,
    schemas: tuple[dict[str, Any], dict[str, Any]],
    schema: pa.Schema,
    limits: Limits,
) -> dict[int, BadMessage]:
    """The rows that do not conform or that nobody can hold, each with its first field that is bad.

    One column after the other: a bad value costs looks at its own column, not at all of them.

    Args:
        batch: as the writer's schema gave it.
        schemas: the writer's and the reader's, expanded; the writer's resolves (`conform`).
        schema: the reader's in Arrow.
        limits: as `holdable.check` takes them.
    """
    found: dict[int, BadMessage] = {}
    written = {field["name"]: field for field in schemas[0]["fields"]}
    for field, target in zip(schemas[1]["fields"], schema, strict=True):
        name = field["name"]
        if name not in written:
            continue  # a default is never bad
        ways = {**schemas[0], "fields": [written[name]]}, {**schemas[1], "fields": [field]}
        for bad in _bad_in(batch[name], partial(_look, ways, pa.schema([target]), limits), name):
            found.setdefault(bad.index, bad)
    return found


def _look(
    ways: tuple[dict[str, Any], dict[str, Any]], schema: pa.Schema, limits: Limits, column: pa.Array
) -> None:
    rows = pa.RecordBatch.from_arrays([column], names=schema.names)
    check(conform(rows, *ways, schema), limits)


def _bad_in(column: pa.Array, look: Callable[[pa.Array], None], name: str) -> Iterator[BadMessage]:
    """The rows of a column that `look` raises at; of equal plain values it is asked once."""
    try:
        look(column)
    except (DecodeError, ValueError):
        values, places = column, np.arange(len(column))
        if not pa.types.is_nested(column.type):
            coded = column.dictionary_encode(null_encoding="encode")
            values, places = coded.dictionary, np.asarray(coded.indices)
        bad: list[BadMessage] = []
        # take, not slice: lists of a slice keep the offsets of the whole
        sifted(lambda part: look(values.take(part)), list(range(len(values))), bad, name)
        faults = {one.index: one for one in bad}
        for row in np.flatnonzero(np.isin(places, list(faults))).tolist():
            yield replace(faults[int(places[row])], index=row)


def sifted(
    work: Callable[[Indexes], T], indexes: Indexes, bad: list[BadMessage], field: str = ""
) -> list[tuple[Indexes, T]]:
    """Do the work; if it fails, on each half, until the bad ones stand alone.

    Args:
        work: raises DecodeError or ValueError.
        indexes: what to do it for.
        bad: takes the bad ones, in order.
        field: where a ValueError comes from, which does not say it.
    """
    try:
        return [(indexes, work(indexes))]
    except (DecodeError, ValueError) as error:
        if len(indexes) == 1:
            bad.append(_bad(indexes[0], error, field))
            return []
    half = len(indexes) // 2
    return [
        *sifted(work, indexes[:half], bad, field),
        *sifted(work, indexes[half:], bad, field),
    ]


def _bad(index: int, error: DecodeError | ValueError, field: str) -> BadMessage:
    if isinstance(error, DecodeError):
        return BadMessage(index, error.reason, error.detail, error.field)
    detail = f"field {field}: {error}" if field else str(error)
    return BadMessage(index, Reason.CORRUPT, detail, field)
