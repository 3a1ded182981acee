"""Confluent's wire format: a zero byte, the schema id in four big-endian bytes, the Avro body."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from nilo_schemas.errors import DecodeError, Reason

PREFIX = struct.Struct(">bI")
MAGIC = 0


def frame(schema_id: int, body: bytes) -> bytes:
    """The body with its prefix."""
    return PREFIX.pack(MAGIC, schema_id) + body


def schema_id_of(prefix: bytes) -> int:
    """The schema id in the first five bytes; raises DecodeError for anything else."""
    if len(prefix) < PREFIX.size:
        raise DecodeError(Reason.FRAMING, f"{len(prefix)} bytes are too short for a schema id")
    magic, schema_id = PREFIX.unpack_from(prefix)
    if magic != MAGIC:
        raise DecodeError(Reason.FRAMING, f"first byte is {prefix[0]}, not Confluent's {MAGIC}")
    return int(schema_id)


def by_prefix(values: Sequence[bytes | None]) -> dict[bytes | None, list[int]]:
    """The indexes of message values by their first five bytes; None: of those without a value."""
    prefixes = {value[: PREFIX.size] if value else None for value in values}
    if len(prefixes) == 1:  # the usual case, and fast
        return {next(iter(prefixes)): list(range(len(values)))}
    members: dict[bytes | None, list[int]] = {prefix: [] for prefix in prefixes}
    for index, value in enumerate(values):
        members[value[: PREFIX.size] if value else None].append(index)
    return members
