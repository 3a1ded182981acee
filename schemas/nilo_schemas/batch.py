"""A list of message values to one Arrow record batch in the reader's schema.

Values are grouped by the id of their writer's schema, each group is decoded in one call of
pyruhvro, brought to the reader's schema, and the rows are put back in order. When a call fails,
the group is halved until the bad messages stand alone; the rest goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyruhvro

from nilo_schemas.arrow import arrow_schema, conform, unreadable_union
from nilo_schemas.contracts import contract
from nilo_schemas.errors import DecodeError, Reason
from nilo_schemas.framing import PREFIX, schema_id_of
from nilo_schemas.record import Record


@dataclass(frozen=True)
class BadMessage:
    """A message that did not decode: its index in the input, the reason, and what happened."""

    index: int
    reason: Reason
    detail: str


@dataclass(frozen=True)
class DecodedBatch:
    """Rows in input order, the input index of each row, and the messages that did not decode."""

    rows: pa.RecordBatch
    indexes: np.ndarray[Any, np.dtype[np.int64]]
    bad: list[BadMessage] = field(default_factory=list)


class BatchDecoder:
    """Decodes message values of one topic; `writer_schema` gives the schema of an id.

    `writer_schema` raises DecodeError for an unknown id; other errors pass through.
    """

    def __init__(
        self, record: type[Record], writer_schema: Callable[[int], dict[str, Any]]
    ) -> None:
        self._reader = contract(record)
        self._writer_schema = writer_schema
        self._written: dict[int, tuple[str, dict[str, Any]]] = {}
        self.schema = arrow_schema(record)

    def decode(self, values: Sequence[bytes | None]) -> DecodedBatch:
        """Decode all values; what does not decode is in `bad`, never an exception."""
        bad: list[BadMessage] = []
        parts: list[tuple[list[int], pa.RecordBatch]] = []
        for schema_id, indexes in self._groups(values, bad).items():
            parts += self._decode_group(schema_id, indexes, values, bad)
        bad.sort(key=lambda message: message.index)
        return self._in_order(parts, bad)

    def _groups(
        self, values: Sequence[bytes | None], bad: list[BadMessage]
    ) -> dict[int, list[int]]:
        """Indexes of the values by writer schema id; a single id is the usual case and fast."""
        prefixes = {value[: PREFIX.size] if value else None for value in values}
        if len(prefixes) == 1:
            members = {next(iter(prefixes)): list(range(len(values)))}
        else:
            members = {prefix: [] for prefix in prefixes}
            for index, value in enumerate(values):
                members[value[: PREFIX.size] if value else None].append(index)
        groups: dict[int, list[int]] = {}
        for prefix, indexes in members.items():
            try:
                groups[self._known(prefix)] = indexes
            except DecodeError as error:
                bad += [BadMessage(index, error.reason, error.detail) for index in indexes]
        return groups

    def _known(self, prefix: bytes | None) -> int:
        if prefix is None:
            raise DecodeError(Reason.EMPTY, "the message has no value")
        schema_id = schema_id_of(prefix)
        if schema_id not in self._written:
            schema = self._writer_schema(schema_id)
            union = unreadable_union(schema)
            if union:
                raise DecodeError(Reason.INCOMPATIBLE, f"schema {schema_id}: {union}")
            self._written[schema_id] = json.dumps(schema), schema
        return schema_id

    def _decode_group(
        self,
        schema_id: int,
        indexes: list[int],
        values: Sequence[bytes | None],
        bad: list[BadMessage],
    ) -> list[tuple[list[int], pa.RecordBatch]]:
        text, writer = self._written[schema_id]
        try:
            raw = pyruhvro.deserialize_array([values[i][5:] for i in indexes], text)  # type: ignore[index]  # None has no prefix and is in no group
            return [(indexes, conform(raw, writer, self._reader, self.schema))]
        except (ValueError, pa.ArrowInvalid) as error:
            if len(indexes) == 1:
                incompatible = isinstance(error, pa.ArrowInvalid)
                reason = Reason.INCOMPATIBLE if incompatible else Reason.CORRUPT
                bad.append(BadMessage(indexes[0], reason, str(error)))
                return []
        half = len(indexes) // 2
        return [
            part
            for side in (indexes[:half], indexes[half:])
            for part in self._decode_group(schema_id, side, values, bad)
        ]

    def _in_order(
        self, parts: list[tuple[list[int], pa.RecordBatch]], bad: list[BadMessage]
    ) -> DecodedBatch:
        if not parts:
            return DecodedBatch(
                pa.RecordBatch.from_pylist([], self.schema), np.empty(0, np.int64), bad
            )
        indexes = np.concatenate([np.asarray(part[0], np.int64) for part in parts])
        rows = pa.concat_batches([part[1] for part in parts])
        if len(parts) > 1:
            order = np.argsort(indexes)
            indexes, rows = indexes[order], rows.take(pa.array(order))
        return DecodedBatch(rows, indexes, bad)
