"""The thread in which a sink works, so that the next batch is read while one is written."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor

from nilo_consumers.batch import Batch
from nilo_consumers.decoding import TopicPart
from nilo_consumers.errors import RowsRefusedError
from nilo_consumers.sink import Offsets, Sink
from nilo_schemas.errors import NiloError

Bury = Callable[[Batch, str], None]


class Writer:
    """Calls a sink in a thread of its own, one call after another.

    Args:
        bury: takes a batch with one row that the store refuses, and why, and returns when it is
            safe elsewhere.
    """

    def __init__(self, sink: Sink, bury: Bury) -> None:
        self._sink, self._bury = sink, bury
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"sink-{sink.name}")
        self._broken = False

    def connect(self, parts: Collection[TopicPart]) -> Future[Offsets]:
        """Begin to connect; see `Sink.connect`."""
        return self._pool.submit(self._connect, list(parts))

    def write(self, batch: Batch, parts: Collection[TopicPart]) -> Future[int]:
        """Begin to write a batch; after a failure, for these partitions connect anew before."""
        return self._pool.submit(self._write, batch, list(parts))

    def close(self) -> None:
        """Wait for the call under way, and close the sink."""
        self._pool.submit(self._sink.close)
        self._pool.shutdown()

    def _connect(self, parts: list[TopicPart]) -> Offsets:
        offsets = self._sink.connect(parts)
        self._broken = False
        return offsets

    def _write(self, batch: Batch, parts: list[TopicPart]) -> int:
        if self._broken:
            self._connect(parts)
        try:
            return write_around(self._sink, batch, self._bury)
        except NiloError:
            self._broken = True
            raise


def write_around(sink: Sink, batch: Batch, bury: Bury) -> int:
    """Write a batch without the rows that the store refuses; the number of rows stored.

    A refused batch is cut into halves until a single row is at fault. It goes to `bury` before the
    offsets pass it, so a crash in between may bury it twice but never lose it.

    Raises:
        NiloError: what the sink or `bury` raises; what was written stays written.
    """
    try:
        return sink.write(batch)
    except RowsRefusedError as error:
        rows = batch.rows.num_rows
        if rows == 0:
            raise
        if rows == 1:
            bury(batch, str(error))
            return sink.write(batch.without_rows())
    return sum(write_around(sink, half, bury) for half in batch.halves())
