"""Arrow batches as bytes: the messages of `metrics.partials`, and the parts of stored state.

A frame is one Arrow IPC stream of one batch; what goes with it (marks, offsets) is JSON in the
metadata of its schema. Any Arrow library reads it.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from nilo_stream_processors.engine.arrays import Ints
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.windows import WindowRows

T = TypeVar("T", Partials, WindowRows)
# Of a part of many partials: well below Kafka's usual limit of 1 MiB for a message.
PART_BYTES = 400_000
_ROW_BYTES, _BIN_BYTES, _LETTER_BYTES = 200, 16, 4
_KEY = b"nilo"


def to_frame(batch: pa.RecordBatch, header: dict[str, Any]) -> bytes:
    """The bytes of a batch with a header."""
    sink = pa.BufferOutputStream()
    schema = batch.schema.with_metadata({_KEY: json.dumps(header).encode()})
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(batch.replace_schema_metadata(schema.metadata))
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
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise ValueError(f"no frame of columns: {error or 'it is cut off'}") from None
    if schema is not None and batch.schema != schema:
        raise ValueError("the columns are not those of this version")
    return batch, _header(batch.schema)


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
    texts = np.fromiter(map(len, rows.series), np.int64, len(rows))
    sizes: Ints = _ROW_BYTES + _LETTER_BYTES * texts
    if isinstance(rows, Partials):
        sizes += _BIN_BYTES * (rows.buckets.lengths + rows.registers.lengths)
    return sizes
