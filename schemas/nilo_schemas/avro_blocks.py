"""Avro values that lie one behind another, decoded at once: no object of Python for each of them.

Avro writes an array as blocks, each a count and so many values, and a zero at the end. So bytes in
which values follow one another are an array as soon as a count stands before them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyruhvro

_END = b"\0"
Block = tuple[int, bytes]


class Items:
    """A decoder of blocks of one schema, in the words that pyruhvro knows (see `foreign`)."""

    def __init__(self, schema: dict[str, Any]) -> None:
        field = {"name": "items", "type": {"type": "array", "items": schema}}
        self._text = json.dumps({"type": "record", "name": "blocks", "fields": [field]})

    def decode(self, blocks: Sequence[Block]) -> pa.StructArray:
        """The values of all blocks, which have at least one each.

        Args:
            blocks: how many values, and their bytes.

        Raises:
            ValueError: the bytes are not so many values.
        """
        parts = [part for count, data in blocks for part in (zigzag(count), data)]
        batch = pyruhvro.deserialize_array([b"".join((*parts, _END))], self._text)
        found = batch.column(0).flatten()
        if len(found) != sum(count for count, _ in blocks):
            raise ValueError(f"{len(found)} values, not so many as the blocks say")
        return found


@lru_cache(1024)
def zigzag(number: int) -> bytes:
    """A number as Avro and Kafka write it: the sign last, seven bits to a byte."""
    left = number << 1 ^ number >> 63
    found = bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)


def unzigzag(data: bytes, place: int) -> tuple[int, int]:
    """The number that begins at a place, and the place behind it; raises IndexError at the end."""
    found = shift = 0
    while True:
        byte = data[place]
        place += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found >> 1 ^ -(found & 1), place
        shift += 7
