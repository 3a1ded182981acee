"""A list of message values to one Arrow record batch in the reader's schema.

Values are grouped by the id of their writer's schema, each group is decoded in one call of
pyruhvro, brought to the reader's schema, and the rows are put back in order. When a step fails,
the group is halved until the bad messages stand alone; the rest goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyruhvro

from nilo_schemas.arrow import arrow_schema, conform
from nilo_schemas.contracts import contract
from nilo_schemas.errors import DecodeError, Reason
from nilo_schemas.foreign import all_written_by, bodies, expanded, readable
from nilo_schemas.framing import PREFIX, schema_id_of
from nilo_schemas.holdable import check
from nilo_schemas.record import Record

T = TypeVar("T")
Indexes = list[int]


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
        self._record = record
        self._reader = expanded(contract(record))
        self._writer_schema = writer_schema
        self._written: dict[int, tuple[str, dict[str, Any]] | DecodeError] = {}
        self.schema = arrow_schema(record)

    def decode(self, values: Sequence[bytes | None]) -> DecodedBatch:
        """Decode all values; what does not decode is in `bad`, never an exception."""
        whole = self._decode_whole(values)
        if whole is not None:
            return whole
        bad: list[BadMessage] = []
        parts: list[tuple[Indexes, pa.RecordBatch]] = []
        for schema_id, indexes in self._groups(values, bad).items():
            parts += self._decode_group(schema_id, indexes, values, bad)
        bad.sort(key=lambda message: message.index)
        return self._in_order(parts, bad)

    def _decode_whole(self, values: Sequence[bytes | None]) -> DecodedBatch | None:
        """The usual case, without a list of indexes: all are of one writer and decode."""
        if not values:
            return None
        try:
            schema_id = self._known(values[0] and values[0][: PREFIX.size])
            text, _ = self._written[schema_id]  # type: ignore[misc]  # _known let no DecodeError by
            messages = pyruhvro.deserialize_array(values, text)
            if not all_written_by(schema_id, messages):
                return None
            rows = self.conformed(bodies(messages), schema_id)
        except (DecodeError, ValueError, TypeError):  # TypeError: one is None
            return None
        return DecodedBatch(rows, np.arange(len(values)))

    def writer(self, schema_id: int) -> dict[str, Any]:
        """The expanded schema of an id; raises DecodeError when it cannot be read in batches."""
        found = self._looked_up(schema_id)
        if isinstance(found, DecodeError):
            raise found
        return found[1]

    def conformed(self, bodies: pa.RecordBatch, schema_id: int) -> pa.RecordBatch:
        """Bodies that were decoded with the schema of an id, as the reader has them.

        Raises:
            DecodeError: a value does not fit, or is none that an event may have.
            ValueError: a number needs more bits.
        """
        batch = conform(bodies, self.writer(schema_id), self._reader, self.schema)
        check(batch, self._record)
        return batch

    def _groups(self, values: Sequence[bytes | None], bad: list[BadMessage]) -> dict[int, Indexes]:
        """Indexes of the values by writer schema id; a single id is the usual case and fast."""
        prefixes = {value[: PREFIX.size] if value else None for value in values}
        if len(prefixes) == 1:
            members = {next(iter(prefixes)): list(range(len(values)))}
        else:
            members = {prefix: [] for prefix in prefixes}
            for index, value in enumerate(values):
                members[value[: PREFIX.size] if value else None].append(index)
        groups: dict[int, Indexes] = {}
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
        self.writer(schema_id)
        return schema_id

    def _looked_up(self, schema_id: int) -> tuple[str, dict[str, Any]] | DecodeError:
        if schema_id not in self._written:
            self._written[schema_id] = self._prepared(schema_id, self._writer_schema(schema_id))
        return self._written[schema_id]

    def _prepared(self, schema_id: int, schema: Any) -> tuple[str, dict[str, Any]] | DecodeError:
        """What decoding needs of a schema, or why it will not do: asked of an empty batch."""
        try:
            writer = expanded(schema)
            text = json.dumps(readable(writer))
            none = bodies(pyruhvro.deserialize_array([], text))
            conform(none, writer, self._reader, self.schema)
        except DecodeError as error:
            return DecodeError(error.reason, f"schema {schema_id}: {error.detail}")
        except ValueError as error:
            return DecodeError(Reason.INCOMPATIBLE, f"schema {schema_id}: {error}")
        return text, writer

    def _decode_group(
        self,
        schema_id: int,
        indexes: Indexes,
        values: Sequence[bytes | None],
        bad: list[BadMessage],
    ) -> list[tuple[Indexes, pa.RecordBatch]]:
        """The group in batches of the reader's schema, usually one."""
        text, _ = self._written[schema_id]  # type: ignore[misc]  # _known let no DecodeError by

        def decoded(part: Indexes) -> pa.RecordBatch:
            return bodies(pyruhvro.deserialize_array([values[i] for i in part], text))

        raw = _sifted(decoded, indexes, bad)
        if not raw:
            return []
        read = [index for part, _ in raw for index in part]
        whole = pa.concat_batches([batch for _, batch in raw])
        place = {index: row for row, index in enumerate(read)}

        def resolved(part: Indexes) -> pa.RecordBatch:
            # take, not slice: lists of a slice keep the offsets of the whole
            rows = whole if len(part) == len(read) else whole.take([place[i] for i in part])
            return self.conformed(rows, schema_id)

        return _sifted(resolved, read, bad)

    def _in_order(
        self, parts: list[tuple[Indexes, pa.RecordBatch]], bad: list[BadMessage]
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


def _sifted(
    work: Callable[[Indexes], T], indexes: Indexes, bad: list[BadMessage]
) -> list[tuple[Indexes, T]]:
    """Do the work; if it fails, on each half, until the bad ones stand alone."""
    try:
        return [(indexes, work(indexes))]
    except (DecodeError, ValueError) as error:
        if len(indexes) == 1:
            reason = error.reason if isinstance(error, DecodeError) else Reason.CORRUPT
            detail = error.detail if isinstance(error, DecodeError) else str(error)
            bad.append(BadMessage(indexes[0], reason, detail))
            return []
    half = len(indexes) // 2
    return [*_sifted(work, indexes[:half], bad), *_sifted(work, indexes[half:], bad)]
