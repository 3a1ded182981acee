"""Batches of any shape as rows of bytes, so that one log holds the state of many owners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from nilo_stream_processors.frames import PART_BYTES

SCHEMA = pa.schema({"owner": pa.string(), "blob": pa.binary()})
Named = tuple[str, pa.RecordBatch]


def packed(batches: Iterable[Named]) -> Iterator[pa.RecordBatch]:
    """Named batches as batches of SCHEMA that each fit into a message, in the same order."""
    held: list[tuple[str, bytes]] = []
    size = 0
    for name, blob in _blobs(batches):
        if held and size + len(blob) > PART_BYTES:
            yield _batch(held)
            held, size = [], 0
        held.append((name, blob))
        size += len(blob)
    if held:
        yield _batch(held)


def unpacked(batch: pa.RecordBatch) -> Iterator[Named]:
    """The named batches that a batch of SCHEMA holds."""
    for name, blob in zip(batch["owner"].to_pylist(), batch["blob"].to_pylist(), strict=True):
        with pa.ipc.open_stream(blob) as reader:
            yield name, reader.read_next_batch()


def _blobs(batches: Iterable[Named]) -> Iterator[tuple[str, bytes]]:
    for name, batch in batches:
        # Half of a message: the frame has a header, and a schema beside the rows.
        rows = max(1, PART_BYTES // 2 * batch.num_rows // max(batch.nbytes, 1))
        for first in range(0, batch.num_rows, rows):
            yield name, _to_bytes(batch.slice(first, rows))


def _to_bytes(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _batch(held: list[tuple[str, bytes]]) -> pa.RecordBatch:
    names, blobs = zip(*held, strict=True)
    return pa.RecordBatch.from_arrays(
        [pa.array(names, pa.string()), pa.array(blobs, pa.binary())], schema=SCHEMA
    )
