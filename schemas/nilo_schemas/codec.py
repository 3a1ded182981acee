"""One record to and from Confluent-framed Avro."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import fastavro
from fastavro.read import SchemaResolutionError

from nilo_schemas.contracts import contract
from nilo_schemas.errors import DecodeError, Reason
from nilo_schemas.framing import PREFIX, frame, schema_id_of
from nilo_schemas.record import Record

R = TypeVar("R", bound=Record)


@cache
def _parsed(record: type[Record]) -> Any:
    return fastavro.parse_schema(contract(record))


def encode(record: Record, schema_id: int) -> bytes:
    """The message value of a record whose contract is registered under `schema_id`."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, _parsed(type(record)), record.to_avro())
    return frame(schema_id, body.getvalue())


def decode(value: bytes | None, record: type[R], writer_schema: Callable[[int], Any]) -> R:
    """The record in a message value.

    Args:
        value: the message value; None is a tombstone, and an empty one holds no event either.
        record: what the message is read as; fields the writer did not know get their defaults.
        writer_schema: gives the schema of an id, or raises DecodeError.

    Raises:
        DecodeError: the value is not a readable record; the reason says why.
    """
    if not value:
        raise DecodeError(Reason.EMPTY, "the message has no value")
    writer = writer_schema(schema_id_of(value[: PREFIX.size]))
    try:
        writer = fastavro.parse_schema(writer)
    except Exception as error:
        # fastavro answers a broken schema with whatever it leads it into: KeyError, TypeError…
        raise DecodeError(Reason.INCOMPATIBLE, f"{type(error).__name__}: {error}") from None
    body = io.BytesIO(value[PREFIX.size :])
    try:
        values = fastavro.schemaless_reader(body, writer, _parsed(record))
    except SchemaResolutionError as error:
        raise DecodeError(Reason.INCOMPATIBLE, str(error)) from None
    except OverflowError as error:
        raise DecodeError(Reason.INVALID, str(error)) from None
    except Exception as error:
        # fastavro answers broken bytes with whatever the bytes lead it into: EOFError, IndexError…
        raise DecodeError(Reason.CORRUPT, f"{type(error).__name__}: {error}") from None
    try:
        return record.from_avro(values)  # type: ignore[arg-type]  # a record schema gives a dict
    except (ValueError, OverflowError) as error:
        raise DecodeError(Reason.INVALID, str(error).replace("\n", " ")) from None
