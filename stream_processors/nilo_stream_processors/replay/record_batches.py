"""The bytes of a fetch become decoded events: whole record batches, no object for each record."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from aiokafka import codec
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from nilo_schemas.batch import BatchDecoder
from nilo_schemas.errors import DecodeError, NiloError
from nilo_schemas.kafka_records import RecordReader, Shape, shape_of
from nilo_stream_processors.engine.arrays import Ints
from nilo_stream_processors.replay.rows import Rows

# Offset, length, epoch, magic, checksum, attributes, last offset, first and last time, producer,
# its epoch, sequence, count: KIP-98.
_HEADER = struct.Struct(">qiibIhiqqqhii")
_LENGTH_ENDS, _CHECKED_FROM, _MAGIC = 12, 21, 2
_CODEC, _APPEND_TIME, _CONTROL = 0x07, 0x08, 0x20
_DECODE: dict[int, Callable[[Any], bytes]] = {
    0: bytes,
    1: codec.gzip_decode,
    2: codec.snappy_decode,
    3: codec.lz4_decode,
    4: codec.zstd_decode,
}


class DamagedError(NiloError):
    """The broker gave bytes whose checksum is wrong."""


@dataclass(frozen=True)
class Batch:
    """A record batch: where it begins and ends, its times in ms, and its records.

    Args:
        begin: the offset of its first record, before compaction.
        end: the offset behind its last.
        time: of its first record, or of all of them when the broker has set it (`appended`).
        appended: whether the times are the broker's.
        count: records.
        records: their bytes, decompressed.
        whole: the bytes of the batch.
    """

    begin: int
    end: int
    time: int
    appended: bool
    count: int
    records: bytes
    whole: memoryview


def batches_of(data: bytes) -> Iterator[Batch]:
    """The batches of a fetch, but for one that is cut off at its end.

    One that ends a transaction has no records.

    Raises:
        DamagedError: a checksum is wrong, or a batch is of an old format.
    """
    place, view = 0, memoryview(data)
    while place + _HEADER.size <= len(data):
        begin, length, _, magic, crc, bits, last, first_time, last_time, *_, count = (
            _HEADER.unpack_from(data, place)
        )
        end = place + _LENGTH_ENDS + length
        if end > len(data):
            return
        if magic != _MAGIC:
            raise DamagedError(f"a batch at offset {begin} has format {magic}, not {_MAGIC}")
        if calc_crc32c(view[place + _CHECKED_FROM : end]) != crc:
            raise DamagedError(f"the checksum of the batch at offset {begin} is wrong")
        counted = 0 if bits & _CONTROL else count
        packed = view[place + _HEADER.size : end]
        appended = bool(bits & _APPEND_TIME)
        yield Batch(
            begin,
            begin + last + 1,
            last_time if appended else first_time,
            appended,
            counted,
            _DECODE[bits & _CODEC](packed) if counted else b"",
            view[place:end],
        )
        place = end


class Unpacker:
    """Decodes the batches of one topic."""

    def __init__(self, decoder: BatchDecoder) -> None:
        self._decoder = decoder
        self._readers: dict[Shape, RecordReader] = {}

    def rows(self, batches: Sequence[Batch], first: int, stop: int) -> Iterator[Rows]:
        """The events of some batches with offsets in `[first, stop)`, in about as many stretches
        as the records have shapes.

        Raises:
            UnreachableError: the registry does not answer.
        """
        for shape, run in groupby((each for each in batches if each.count), self._shape):
            mine = list(run)
            found = None if shape is None else self._at_once(shape, mine)
            yield _within(found or self._one_by_one(mine), first, stop)

    @staticmethod
    def _shape(batch: Batch) -> Shape | None:
        try:
            return shape_of(batch.records)
        except (DecodeError, IndexError):
            return None

    def _at_once(self, shape: Shape, batches: Sequence[Batch]) -> Rows | None:
        """All records; None when they are not of one shape, or one does not decode."""
        try:
            if shape not in self._readers:
                writer = self._decoder.writer(shape.schema_id)
                self._readers[shape] = RecordReader(shape, writer)
            read = self._readers[shape].read([(each.count, each.records) for each in batches])
            events = self._decoder.conformed(read.bodies, shape.schema_id)
        except (DecodeError, ValueError):
            return None
        counts = np.array([each.count for each in batches])
        times = np.repeat([each.time for each in batches], counts)
        created = np.repeat([not each.appended for each in batches], counts)
        offsets = read.offsets + np.repeat([each.begin for each in batches], counts)
        if (np.diff(offsets) <= 0).any():
            return None
        return Rows(events, offsets, (times + read.times * created) * 1000, batches[-1].end)

    def _one_by_one(self, batches: Sequence[Batch]) -> Rows:
        records = [record for each in batches for record in _records(each.whole)]
        decoded = self._decoder.decode([record.value for record in records])
        offsets = np.array([record.offset for record in records], np.int64)[decoded.indexes]
        stamps = np.array([record.timestamp for record in records], np.int64)[decoded.indexes]
        unread = Counter(bad.reason for bad in decoded.bad)
        return Rows(decoded.rows, offsets, stamps * 1000, batches[-1].end, unread)


def _records(whole: memoryview) -> Iterator[Any]:
    found = MemoryRecords(bytes(whole))
    while found.has_next():
        yield from found.next_batch()


def _within(rows: Rows, first: int, stop: int) -> Rows:
    """A batch is fetched whole, also when reading begins or ends in its middle."""
    inside: Ints = np.flatnonzero((rows.offsets >= first) & (rows.offsets < stop))
    if len(inside) == len(rows.offsets):
        return rows
    events = rows.batch.take(pa.array(inside))
    return Rows(events, rows.offsets[inside], rows.stamps[inside], rows.next, rows.unread)
