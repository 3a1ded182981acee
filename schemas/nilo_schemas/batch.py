"""A list of message values to one Arrow record batch in the reader's schema.

Values are grouped by the id of their writer's schema, each group is decoded in one call of
pyruhvro, brought to the reader's schema, and the rows are put back in order. When a step fails,
the bad messages are looked for (`faults`); the rest goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyruhvro

from nilo_schemas.arrow import arrow_schema, arrow_schema_of, conform, exact
from nilo_schemas.contracts import contract
from nilo_schemas.errors import DecodeError, Reason
from nilo_schemas.faults import BadMessage, Indexes, bad_rows, sifted
from nilo_schemas.foreign import all_written_by, bodies, expanded, readable
from nilo_schemas.framing import PREFIX, by_prefix, schema_id_of
from nilo_schemas.holdable import check, limits
from nilo_schemas.record import Record


@dataclass(frozen=True)
class DecodedBatch:
    """Rows in input order, the input index of each row, and the messages that did not decode."""

    rows: pa.RecordBatch
    indexes: np.ndarray[Any, np.dtype[np.int64]]
    bad: list[BadMessage] = field(default_factory=list)


class BatchDecoder:
    """Decodes message values of one topic.

    Args:
        record: what messages are read as.
        writer_schema: gives the schema of an id; raises DecodeError for an unknown one, and other
            errors pass through.
        reader: an Avro schema in place of the record's contract. The bounds of the record's
            numbers then hold for the fields that keep their type.
        lossless: refuse values that the reader would take with loss (`arrow.exact`).
    """

    def __init__(
        self,
        record: type[Record],
        writer_schema: Callable[[int], dict[str, Any]],
        reader: dict[str, Any] | None = None,
        *,
        lossless: bool = False,
    ) -> None:
        whole = expanded(reader or contract(record))
        self._reader = exact(whole) if lossless else whole
        self._writer_schema = writer_schema
        self._written: dict[int, tuple[str, dict[str, Any]] | DecodeError] = {}
        self.schema = arrow_schema_of(reader) if reader else arrow_schema(record)
        self._limits = limits(record, self.schema)

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
            text, writer = self._written[schema_id]  # type: ignore[misc]  # _known let no DecodeError by
            messages = pyruhvro.deserialize_array(values, text)
            if not all_written_by(schema_id, messages):
                return None
            rows = self._conformed(bodies(messages), writer)
        except (DecodeError, ValueError, TypeError):  # TypeError: one is None
            return None
        return DecodedBatch(rows, np.arange(len(values)))

    def writer(self, schema_id: int) -> dict[str, Any]:
        """The expanded schema of an id; raises DecodeError when it cannot be read in batches."""
        found = self._looked_up(schema_id)
        if isinstance(found, DecodeError):
            # A new one: an error that is raised again keeps every frame that it went through.
            raise DecodeError(found.reason, found.detail, found.field)
        return found[1]

    def conformed(self, bodies: pa.RecordBatch, schema_id: int) -> pa.RecordBatch:
        """Bodies that were decoded with the schema of an id, as the reader has them.

        Raises:
            DecodeError: a value does not fit, or is none that an event may have.
            ValueError: a number needs more bits.
        """
        return self._conformed(bodies, self.writer(schema_id))

    def _groups(self, values: Sequence[bytes | None], bad: list[BadMessage]) -> dict[int, Indexes]:
        """Indexes of the values by writer schema id."""
        groups: dict[int, Indexes] = {}
        for prefix, indexes in by_prefix(values).items():
            try:
                groups[self._known(prefix)] = indexes
            except DecodeError as error:
                told = error.reason, error.detail, error.field
                bad += [BadMessage(index, *told) for index in indexes]
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
            return DecodeError(error.reason, f"schema {schema_id}: {error.detail}", error.field)
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
        text, writer = self._written[schema_id]  # type: ignore[misc]  # _known let no DecodeError by

        def decoded(part: Indexes) -> pa.RecordBatch:
            return bodies(pyruhvro.deserialize_array([values[i] for i in part], text))

        raw = sifted(decoded, indexes, bad)
        if not raw:
            return []
        read = [index for part, _ in raw for index in part]
        whole = pa.concat_batches([batch for _, batch in raw])
        try:
            return [(read, self._conformed(whole, writer))]
        except (DecodeError, ValueError):
            faults = bad_rows(whole, (writer, self._reader), self.schema, self._limits)
        bad += [replace(fault, index=read[row]) for row, fault in faults.items()]
        good = [row for row in range(len(read)) if row not in faults]
        rows = self._conformed(whole.take(pa.array(good, pa.int64())), writer)
        return [([read[row] for row in good], rows)]

    def _conformed(self, batch: pa.RecordBatch, writer: dict[str, Any]) -> pa.RecordBatch:
        rows = conform(batch, writer, self._reader, self.schema)
        check(rows, self._limits)
        return rows

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
