"""What aiokafka's fetcher holds, taken out as chunks: whole record batches, no object per record
beyond the one that aiokafka's C code makes.

aiokafka offers records only one by one, as `ConsumerRecord`s, which costs more than all else that a
fetch does (tests/bench/transports.py). So this reads its fetcher's queue itself. What must not go
wrong is left to aiokafka's own code: checksums, control batches, aborted transactions, positions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter, methodcaller
from typing import Any, cast

import numpy as np
from aiokafka.consumer import fetcher as aiokafka
from aiokafka.errors import KafkaError

# About 9,000 events of 180 bytes. To the transport it matters little (0.8 CPU seconds per million
# at 0.25 MiB, 0.65 at 16); the engine has a price per chunk, and memory holds a few of them.
CHUNK_BYTES = 4 * 1024 * 1024
# What Python keeps of a record beyond the bytes of its key and value.
RECORD_BYTES = 250
Offsets = np.ndarray[Any, np.dtype[np.int64]]
_key, _value = attrgetter("key"), attrgetter("value")
_offset, _timestamp = attrgetter("offset"), attrgetter("timestamp")


@dataclass(frozen=True)
class Chunk:
    """Records of one partition, in order; offsets may have gaps.

    A record has the attributes `key`, `value`, `headers`, `offset` and `timestamp`.
    """

    records: list[Any]
    size: int
    """Bytes that it holds in memory, about."""
    begin: int
    """The offset at which it was read: nothing lies between this and its records."""

    def __len__(self) -> int:
        return len(self.records)

    @property
    def offset(self) -> int:
        """The offset of the last record."""
        return int(self.records[-1].offset)

    def values(self) -> list[bytes | None]:
        """The message values."""
        return list(map(_value, self.records))

    def offsets(self) -> Offsets:
        """The offset of each record."""
        return np.fromiter(map(_offset, self.records), np.int64, len(self.records))

    def timestamps(self) -> Offsets:
        """The Kafka timestamp of each record, in milliseconds since 1970."""
        return np.fromiter(map(_timestamp, self.records), np.int64, len(self.records))


async def fetch(
    fetcher: Any, active: set[Any], room: dict[str, int], *, timeout: float, max_records: int
) -> dict[Any, list[Any]]:
    """What there is of the active partitions; waits up to `timeout` seconds for the first of it.

    Args:
        fetcher: aiokafka's.
        active: the partitions to read.
        room: bytes to take of each topic that is read as chunks, at most one per partition; the
            last chunk may take more, so that any message fits.
        timeout: seconds.
        max_records: records to take of the partitions of all other topics.

    Raises:
        KafkaError: what the fetcher met.
    """
    deadline = time.monotonic() + timeout
    while True:
        # What was fetched before a rebalance is not ours any more.
        if fetcher._subscriptions.reassignment_in_progress:
            await fetcher._subscriptions.wait_for_assignment()
        taken = _take_all(fetcher, active, room, max_records)
        left = deadline - time.monotonic()
        if taken or left <= 0 or fetcher._closed:
            return taken
        waiter = fetcher._create_fetch_waiter()
        await asyncio.wait([waiter], timeout=left)
        if waiter.done():
            waiter.result()  # raises what the broker refuses
        else:
            waiter.cancel()


def _take_all(
    fetcher: Any, active: set[Any], room: dict[str, int], max_records: int
) -> dict[Any, list[Any]]:
    taken: dict[Any, list[Any]] = {}
    for tp in list(fetcher._records):
        if tp not in active:
            if not fetcher._subscriptions.is_assigned(tp):
                del fetcher._records[tp]
        elif tp.topic not in room:
            if records := _take(fetcher, tp, methodcaller("getall", max_records), taken):
                taken[tp] = records
                max_records -= len(records)
        elif room[tp.topic] > 0 and (chunk := _take(fetcher, tp, _chunk, taken)):
            taken[tp] = [chunk]
            room[tp.topic] -= chunk.size
        if max_records <= 0:
            break
    return taken


def _take(fetcher: Any, tp: Any, take: Callable[[Any], Any], before: dict[Any, Any]) -> Any:
    found = fetcher._records[tp]
    if not isinstance(found, aiokafka.FetchResult):
        if before:
            return None  # an error; it waits until what stands before it is done
        _drop(fetcher, tp)
        found.check_raise()
    try:
        taken = take(found)
    except KafkaError:
        _drop(fetcher, tp)  # it is fetched again
        if before:
            return None
        raise
    if not found.has_more():
        _drop(fetcher, tp)
    else:
        fetcher._records.move_to_end(tp)  # the other partitions have their turn first
    return taken


def _drop(fetcher: Any, tp: Any) -> None:
    """Let the fetcher fetch more of a partition."""
    del fetcher._records[tp]
    fetcher._notify(fetcher._wait_consume_future)


def _chunk(found: Any) -> Chunk | None:
    """Whole batches up to the limit; half a batch cannot be unpacked."""
    _by_batches(found)
    if not found.has_more():
        return None
    begin = int(found._partition_records.next_fetch_offset)
    records: list[Any] = []
    size = 0
    while size < CHUNK_BYTES:
        try:
            batch = found.getone()
        except KafkaError:
            if records:
                break  # the position is before the bad batch: it will be met again
            raise
        if batch is None:
            break
        records += batch
        size += _size(batch)
    return Chunk(records, size, begin) if records else None


def _size(batch: list[Any]) -> int:
    keys, values = map(_key, batch), map(_value, batch)
    return (
        sum(map(len, filter(None, keys)))
        + sum(map(len, filter(None, values)))
        + len(batch) * RECORD_BYTES
    )


def _by_batches(found: Any) -> None:
    """Make a fetch result give lists of records, each one batch."""
    whole = found._partition_records
    if whole is None or isinstance(whole, _BatchRecords):
        return
    found._partition_records = _BatchRecords(
        whole._tp,
        _Batches(whole._records),
        whole._aborted_transactions,
        whole.next_fetch_offset,
        None,
        None,
        whole._check_crcs,
        whole._isolation_level,
    )


class _BatchRecords(aiokafka.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's reader of a fetched partition, for whom a batch is one record."""

    def _consumer_record(self, tp: Any, record: _Batch) -> list[Any]:
        start = cast("int", self.next_fetch_offset)
        if record.records[0].offset >= start:
            return record.records
        # A batch is fetched whole, also when reading starts in its middle.
        return [one for one in record.records if one.offset >= start]


@dataclass
class _Batch:
    """The records of a batch under the offset of the last."""

    records: list[Any]

    @property
    def offset(self) -> int:
        return int(self.records[-1].offset)


class _Batches:
    """aiokafka's `MemoryRecords` with batches whose only item is a `_Batch`."""

    def __init__(self, records: Any) -> None:
        self.has_next = records.has_next
        self._next = records.next_batch

    def next_batch(self) -> _WholeBatch:
        return _WholeBatch(self._next())


class _WholeBatch:
    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        # Of a control batch aiokafka reads the first record.
        return next(self._batch)

    def __iter__(self) -> Iterator[_Batch]:
        records = list(self._batch)
        return iter([_Batch(records)] if records else [])
