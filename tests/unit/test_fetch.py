"""Chunks of fetched bytes, with aiokafka's own classes around them; the broker is not needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from nilo_stream_processors.fetch import CHUNK_BYTES, Chunk, fetch

LZ4 = 3


def batch(first: int, values: list[bytes | None]) -> bytearray:
    """A record batch of the log, lz4."""
    builder = DefaultRecordBatchBuilder(2, LZ4, 0, -1, -1, -1, 1 << 30)
    for number, value in enumerate(values):
        builder.append(number, 1_000 + number, b"k", value, [("h", b"x")])
    built: bytearray = builder.build()
    built[:8] = first.to_bytes(8, "big")  # the broker sets it; no checksum covers it
    return built


@asynccontextmanager
async def fetched(parts: dict[TopicPartition, tuple[int, bytes]]) -> AsyncIterator[Any]:
    """aiokafka's fetcher that has fetched these bytes from these offsets."""
    subscription = SubscriptionState()
    subscription.assign_from_user(set(parts))
    client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")
    fetcher = Fetcher(client, subscription)
    for tp, (start, data) in parts.items():
        subscription.seek(tp, start)
        records = PartitionRecords(tp, MemoryRecords(data), [], start, None, None, True, 0)
        fetcher._records[tp] = FetchResult(
            tp,
            assignment=subscription.subscription.assignment,
            partition_records=records,
            backoff=0,
        )
    try:
        yield fetcher
    finally:
        await fetcher.close()


async def take(fetcher: Any, room: dict[str, int]) -> dict[TopicPartition, list[Chunk]]:
    active = {TopicPartition("t", number) for number in range(4)}
    return await fetch(fetcher, active, room, timeout=0.0, max_records=100)


FIRST = TopicPartition("t", 0)


def test_a_chunk_has_the_columns_and_the_records() -> None:
    async def run() -> None:
        data = bytes(batch(40, [b"a", None, b"c"]) + batch(50, [b"d"]))
        async with fetched({FIRST: (40, data)}) as fetcher:
            (chunk,) = (await take(fetcher, {"t": CHUNK_BYTES}))[FIRST]
        assert chunk.values() == [b"a", None, b"c", b"d"]
        assert chunk.offsets().tolist() == [40, 41, 42, 50]
        assert chunk.timestamps().tolist() == [1_000, 1_001, 1_002, 1_000]
        assert (len(chunk), chunk.offset) == (4, 50)
        record = chunk.records[3]
        assert (record.key, record.value, record.headers) == (b"k", b"d", [("h", b"x")])
        assert (record.offset, record.timestamp) == (50, 1_000)

    asyncio.run(run())


def test_reading_from_within_a_batch_leaves_out_what_is_before() -> None:
    async def run() -> None:
        async with fetched({FIRST: (42, bytes(batch(40, [b"a", b"b", b"c"])))}) as fetcher:
            (chunk,) = (await take(fetcher, {"t": 1}))[FIRST]
        assert chunk.offsets().tolist() == [42]

    asyncio.run(run())


def test_a_batch_with_a_wrong_checksum_is_refused_after_what_stands_before_it() -> None:
    async def run() -> None:
        bad = batch(1, [b"b" * 100])
        bad[-1] ^= 1
        async with fetched({FIRST: (0, bytes(batch(0, [b"a"]) + bad))}) as fetcher:
            (chunk,) = (await take(fetcher, {"t": CHUNK_BYTES}))[FIRST]
            assert chunk.values() == [b"a"]
            state = fetcher._subscriptions.subscription.assignment.state_value(FIRST)
            assert state.position == 1
        async with fetched({FIRST: (1, bytes(bad))}) as fetcher:
            with pytest.raises(CorruptRecordException):
                await take(fetcher, {"t": CHUNK_BYTES})

    asyncio.run(run())


def test_chunks_end_at_the_cap_and_a_message_beyond_it_still_comes() -> None:
    async def run() -> None:
        big, half = b"x" * (CHUNK_BYTES + 1), b"y" * (CHUNK_BYTES // 2)
        data = b"".join(bytes(batch(n, [v])) for n, v in enumerate([half, half, half, big, half]))
        chunks = []
        async with fetched({FIRST: (0, data)}) as fetcher:
            while found := await take(fetcher, {"t": 1}):
                chunks += found[FIRST]
        assert [chunk.offsets().tolist() for chunk in chunks] == [[0, 1], [2, 3], [4]]

    asyncio.run(run())


def test_a_topic_without_room_is_left_and_partitions_take_turns() -> None:
    async def run() -> None:
        parts = {
            TopicPartition("t", number): (
                0,
                b"".join(bytes(batch(n, [b"x" * CHUNK_BYTES])) for n in range(2)),
            )
            for number in range(3)
        }
        order = []
        async with fetched(parts) as fetcher:
            assert await take(fetcher, {"t": 0}) == {}
            while found := await take(fetcher, {"t": 1}):
                order += [(tp.partition, *chunk.offsets()) for tp, (chunk,) in found.items()]
        assert sorted(order[:3]) == [(0, 0), (1, 0), (2, 0)]
        assert sorted(order[3:]) == [(0, 1), (1, 1), (2, 1)]

    asyncio.run(run())
