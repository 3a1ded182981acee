"""Arrow batches as bytes: the messages of `metrics.partials`, and the parts of stored state.

A frame is one Arrow IPC stream of one batch; what goes with it (marks, offsets) is JSON in the
metadata of its schema. Any Arrow library reads it. Columns in which all rows have one value, which
are most of them, travel as columns of nulls, which take no bytes; the value is JSON in the metadata
of the field.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from nilo_stream_processors.engine.arrays import Ints
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.texts import NAME, one_name
from nilo_stream_processors.engine.window_rows import WindowRows

T = TypeVar("T", Partials, WindowRows)
# Of a part of many partials: below Kafka's usual limit of 1 MiB for a message, with its header.
PART_BYTES = 800_000
# Of a row without sums, bins and letters; of a sum; of a bin with its count; of a letter.
_ROW_BYTES, _SUM_BYTES, _BIN_BYTES, _LETTER_BYTES = 80, 8, 16, 4
_KEY, _CONSTANT = b"nilo", b"nilo.constant"


def to_frame(batch: pa.RecordBatch, header: dict[str, Any]) -> bytes:
    """The bytes of a batch with a header; its columns are integers, truth values, texts, lists."""
    folded = [_folded(*each) for each in zip(batch.schema, batch.columns, strict=True)]
    schema = pa.schema([field for field, _ in folded], {_KEY: json.dumps(header).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([one for _, one in folded], schema=schema))
    found: bytes = sink.getvalue().to_pybytes()
    return found


def from_frame(frame: bytes, schema: pa.Schema | None = None) -> tuple[pa.RecordBatch, Any]:
    """The batch and the header of a frame.

    Args:
        schema: what the batch must be; None to take any.

    Raises:
        ValueError: the bytes are no such frame.
    """
    try:
        with pa.ipc.open_stream(frame) as reader:
            batch = reader.read_next_batch()
        batch.validate(full=True)
        unfolded = [_unfolded(*each) for each in zip(batch.schema, batch.columns, strict=True)]
    except (pa.ArrowException, OSError, StopIteration, OverflowError) as error:
        raise ValueError(f"no frame of columns: {error or 'it is cut off'}") from None
    whole = pa.schema([field for field, _ in unfolded])
    if schema is not None and whole != schema:
        raise ValueError("the columns are not those of this version")
    whole_batch = pa.RecordBatch.from_arrays([one for _, one in unfolded], schema=whole)
    return whole_batch, _header(batch.schema)


def header_of(frame: bytes) -> Any:
    """The header of a frame, without a look at its batch.

    Raises:
        ValueError: the bytes do not begin as a frame.
    """
    try:
        with pa.ipc.open_stream(frame) as reader:
            return _header(reader.schema)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"no frame of columns: {error}") from None


def _header(schema: pa.Schema) -> Any:
    return json.loads((schema.metadata or {}).get(_KEY, b"null"))


def _folded(field: pa.Field, column: pa.Array) -> tuple[pa.Field, pa.Array]:
    """A column as it travels."""
    value = _one_value(column)
    if value is None:
        return field, column
    metadata = {_CONSTANT: json.dumps(value).encode()}
    return pa.field(field.name, pa.null(), metadata=metadata), pa.nulls(len(column))


def _one_value(column: pa.Array) -> str | int | bool | None:
    """The value that all rows have; None when they have several, or labels, or lists."""
    if column.type == NAME:
        return column.dictionary[0].as_py() if len(column.dictionary) == 1 else None
    if column.type not in (pa.int64(), pa.bool_()):
        return None
    values = column.to_numpy(zero_copy_only=False)
    if not len(values) or values[0] != values[-1] or (values != values[0]).any():
        return None
    value: int | bool = values[0].item()
    return value


def _unfolded(field: pa.Field, column: pa.Array) -> tuple[pa.Field, pa.Array]:
    """A column as it was."""
    folded = (field.metadata or {}).get(_CONSTANT) if field.type == pa.null() else None
    if folded is None:
        if column.null_count:
            raise ValueError(f"column {field.name} has nulls")
        return field, column
    value, count = json.loads(folded), len(column)
    # JSON keeps the three types apart.
    kind = {bool: pa.bool_(), int: pa.int64()}.get(type(value))
    whole = pa.repeat(pa.scalar(value, kind), count) if kind else one_name(str(value), count)
    return pa.field(field.name, whole.type), whole


def in_parts(rows: T) -> list[T]:
    """The rows in parts of about PART_BYTES; of none, one empty part."""
    ends = np.cumsum(_sizes(rows))
    parts = int(ends[-1]) // PART_BYTES + 1 if len(ends) else 1
    edges = np.searchsorted(ends, np.arange(1, parts) * PART_BYTES)
    return rows.stretches(np.concatenate([[0], edges, [len(rows)]]))


def for_targets(rows: Partials, targets: Ints, count: int) -> list[list[Partials]]:
    """The rows of each target from 0 to `count` - 1, in parts."""
    order = np.argsort(targets, kind="stable")
    edges = np.searchsorted(targets[order], np.arange(count + 1))
    return [in_parts(mine) for mine in rows.take(order).stretches(edges)]


def _sizes(rows: Partials | WindowRows) -> Ints:
    """Bytes of each row, rather too many."""
    texts = np.fromiter(map(len, rows.series.tolist()), np.int64, len(rows))
    sizes: Ints = _ROW_BYTES + _LETTER_BYTES * texts
    if isinstance(rows, Partials):
        sizes += _SUM_BYTES * (rows.sums != rows.sums[:, :1]).any(axis=1).sum()
        sizes += _BIN_BYTES * (rows.buckets.lengths + rows.registers.lengths)
    return sizes
