"""Kafka's records as Avro: both write numbers in one way, so one schema reads record and event.

A record of a batch (KIP-98, message format v2) is its length, a byte of attributes, the
differences of its time and offset, key, value and headers. With the schema of the value's writer
in its middle all that is an Avro record, and a whole batch one array of them: it is decoded in one
call, without an object of Python for any record. It must have one shape: one writer's schema, as
many headers everywhere, keys everywhere or nowhere. What has not is read record by record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nilo_schemas.avro_blocks import Block, Items, unzigzag
from nilo_schemas.foreign import FRAMING, all_written_by, named_record
from nilo_schemas.framing import PREFIX, schema_id_of

_Ints = np.ndarray[Any, np.dtype[np.int64]]


class Shape(NamedTuple):
    """What the records of a batch have in common: the id of the schema, keys, number of headers."""

    schema_id: int
    has_key: bool
    headers: int


@dataclass(frozen=True)
class Records:
    """Decoded records: their values, and the differences of their offsets and times (ms)."""

    bodies: pa.RecordBatch
    offsets: _Ints
    times: _Ints


def shape_of(records: bytes) -> Shape:
    """The shape of the first record.

    Raises:
        DecodeError: its value has not Confluent's framing.
        IndexError: it is cut off.
    """
    _, place = unzigzag(records, 0)
    place += 1
    for _ in range(2):
        _, place = unzigzag(records, place)
    key, place = unzigzag(records, place)
    value, place = unzigzag(records, place + max(key, 0))
    schema_id = schema_id_of(records[place : place + max(min(value, PREFIX.size), 0)])
    headers, _ = unzigzag(records, place + value)
    return Shape(schema_id, key >= 0, headers)


class RecordReader:
    """Reads records of one shape whose values have this schema (see `foreign.expanded`).

    Raises:
        DecodeError: pyruhvro has no way to read it.
    """

    def __init__(self, shape: Shape, writer: dict[str, Any]) -> None:
        self._shape = shape
        names = count()
        key = [("key", "string")] if shape.has_key else [("key_length", "long")]
        headers = [(f"{part}{n}", "string") for n in range(shape.headers) for part in "kv"]
        before = [("length", "long"), ("attributes", "boolean"), ("time", "long")]
        before += [("offset", "long"), *key, ("value_length", "long")]
        fields: list[Any] = [{"name": name, "type": kind} for name, kind in before]
        fields += [*FRAMING, {"name": "body", "type": named_record(writer, names)}]
        fields += [{"name": n, "type": kind} for n, kind in [("headers", "long"), *headers]]
        self._items = Items({"type": "record", "name": f"n{next(names)}", "fields": fields})

    def read(self, blocks: Sequence[Block]) -> Records:
        """The records of some batches: of each how many, and their bytes.

        Raises:
            ValueError: they are not all of this shape, or not as many.
        """
        found = self._items.decode(blocks)
        columns = dict(zip((field.name for field in found.type), found.flatten(), strict=True))
        self._check(columns, sum(len(data) for _, data in blocks))
        bodies = pa.RecordBatch.from_struct_array(columns["body"])
        return Records(bodies, _ints(columns["offset"]), _ints(columns["time"]))

    def _check(self, columns: dict[str, pa.Array], size: int) -> None:
        """Whether the records are what they say: a value that has more bytes shifts all others."""
        lengths, shape = _ints(columns["length"]), self._shape
        framing = pa.RecordBatch.from_arrays(
            [columns[each["name"]] for each in FRAMING], [each["name"] for each in FRAMING]
        )
        good = (
            int(lengths.sum() + _sizes(lengths).sum()) == size
            and not pc.any(columns["attributes"]).as_py()
            and all_written_by(shape.schema_id, framing)
            and bool((_ints(columns["headers"]) == shape.headers).all())
            and (shape.has_key or bool((_ints(columns["key_length"]) == -1).all()))
        )
        if not good:
            raise ValueError("the records are not all of one shape")


def _ints(column: pa.Array) -> _Ints:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)


def _sizes(numbers: _Ints) -> _Ints:
    """The bytes that lengths take as Kafka writes them."""
    sizes = np.ones(len(numbers), np.int64)
    for bits in (6, 13, 20, 27):
        sizes += numbers >= 1 << bits
    return sizes
