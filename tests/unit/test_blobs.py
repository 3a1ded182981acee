"""Batches of any shape in a log of frames."""

from __future__ import annotations

import pyarrow as pa

from nilo_stream_processors.blobs import packed, unpacked
from nilo_stream_processors.frames import PART_BYTES, from_frame, to_frame


def test_named_batches_come_back_in_order_and_no_message_is_too_large() -> None:
    small = pa.RecordBatch.from_pydict({"key": ["a", None], "value": [1.5, None]})
    large = pa.RecordBatch.from_pydict(
        {"rows": pa.FixedSizeListArray.from_arrays(pa.array(range(400_000)), 4)}
    )
    named = [("one", small), ("two", large), ("three", small)]

    frames = [to_frame(each, {"n": 1}) for each in packed(named)]

    assert max(map(len, frames)) < 1.1 * PART_BYTES
    found = [each for frame in frames for each in unpacked(from_frame(frame)[0])]
    assert [name for name, _ in found if name != "two"] == ["one", "three"]
    assert found[0][1].equals(small)
    parts = [batch for name, batch in found if name == "two"]
    assert len(parts) > 1
    assert pa.Table.from_batches(parts).combine_chunks().to_batches()[0].equals(large)


def test_nothing_is_no_batch() -> None:
    assert list(packed([])) == []
    empty = pa.RecordBatch.from_pydict({"key": pa.array([], pa.string())})
    assert list(packed([("empty", empty)])) == []
