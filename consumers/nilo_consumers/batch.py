"""What a sink is given: the rows of one topic and the offsets that they end at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Rows may be large: so many bytes of them in memory are enough for a file or a transaction.
HELD_BYTES = 64 * 1024 * 1024
PARTITION, OFFSET = "kafka_partition", "kafka_offset"
ORIGIN = (pa.field(PARTITION, pa.int32(), False), pa.field(OFFSET, pa.int64(), False))
# Of events also the time of their Kafka record: a replay needs it to tell a clock that is ahead.
# Rows of earlier versions have none.
STAMP = pa.field("kafka_timestamp", pa.timestamp("us", "UTC"))


@dataclass(frozen=True)
class Span:
    """The stretch `[start, end)` of a partition: next offset before and after."""

    start: int
    end: int


@dataclass(frozen=True)
class Batch:
    """Decoded rows of one topic with their origin columns, and the stretch of each partition.

    A span may be longer than its rows: dead letters and gaps have no row.
    """

    topic: str
    rows: pa.Table
    spans: Mapping[int, Span]

    def beyond(self, stored: Mapping[int, int]) -> Batch:
        """What is left when a store already holds each partition up to `stored`."""
        known = {p: stored.get(p, span.start) for p, span in self.spans.items()}
        left = {p: Span(max(known[p], s.start), s.end) for p, s in self.spans.items()}
        return self._only(left)

    def halves(self) -> tuple[Batch, Batch]:
        """Two batches with half of the rows each (at least two), by partition, then offset."""
        partitions = self.rows[PARTITION].to_numpy()
        offsets = self.rows[OFFSET].to_numpy()
        middle = np.lexsort((offsets, partitions))[len(offsets) // 2]
        cut = int(partitions[middle]), int(offsets[middle])
        return self._only(_before(self.spans, *cut)), self._only(_behind(self.spans, *cut))

    def without_rows(self) -> Batch:
        """The same stretches with no rows."""
        return Batch(self.topic, self.rows.slice(0, 0), self.spans)

    def _only(self, spans: Mapping[int, Span]) -> Batch:
        kept = {p: span for p, span in spans.items() if span.start < span.end}
        if kept == dict(self.spans):
            return self
        return Batch(self.topic, self.rows.filter(_inside(kept)), kept)


def _before(spans: Mapping[int, Span], partition: int, offset: int) -> dict[int, Span]:
    """What lies before an offset of a partition: all of lower partitions, nothing of higher."""
    lower = {p: span for p, span in spans.items() if p < partition}
    return lower | {partition: Span(spans[partition].start, offset)}


def _behind(spans: Mapping[int, Span], partition: int, offset: int) -> dict[int, Span]:
    higher = {p: span for p, span in spans.items() if p > partition}
    return {partition: Span(offset, spans[partition].end)} | higher


def _inside(spans: Mapping[int, Span]) -> pc.Expression:
    partition, offset = pc.field(PARTITION), pc.field(OFFSET)
    wanted = pc.scalar(False)
    for number, span in spans.items():
        wanted = wanted | ((partition == number) & (offset >= span.start) & (offset < span.end))
    return wanted


@dataclass(frozen=True)
class Chunk:
    """The rows of one fetch from one partition, ready to be held."""

    partition: int
    rows: pa.Table
    span: Span

    def without(self, offsets: Collection[int]) -> Chunk:
        """The same stretch without the rows of these offsets."""
        kept = pc.invert(pc.is_in(self.rows[OFFSET], pa.array(offsets, pa.int64())))
        return Chunk(self.partition, self.rows.filter(kept), self.span)


@dataclass(frozen=True)
class Policy:
    """When held rows are written: at so many rows or bytes, or so many seconds after the first."""

    rows: int
    seconds: float
    size: int = HELD_BYTES


@dataclass
class Holding:
    """The rows of one topic on their way into a store; `add` answers whether it is time.

    Args:
        clock: monotonic seconds.
    """

    topic: str
    policy: Policy
    clock: Callable[[], float]
    _chunks: list[Chunk] = field(default_factory=list)
    _rows: int = 0
    _size: int = 0
    _since: float = 0.0

    def add(self, chunk: Chunk) -> bool:
        """Hold a chunk; True when the batch is to be written now."""
        if not self._chunks:
            self._since = self.clock()
        self._chunks.append(chunk)
        self._rows += chunk.rows.num_rows
        self._size += chunk.rows.nbytes
        return self.due()

    def due(self) -> bool:
        """Whether what is held is to be written now; never true when nothing is held."""
        if not self._chunks:
            return False
        old = self.clock() - self._since >= self.policy.seconds
        return old or self._rows >= self.policy.rows or self._size >= self.policy.size

    def take(self) -> Batch | None:
        """The batch to write, which is then no longer held; None when nothing is held."""
        chunks, self._chunks, self._rows, self._size = self._chunks, [], 0, 0
        if not chunks:
            return None
        spans: dict[int, Span] = {}
        for chunk in chunks:
            first = spans.get(chunk.partition, chunk.span)
            spans[chunk.partition] = Span(first.start, chunk.span.end)
        return Batch(self.topic, pa.concat_tables([chunk.rows for chunk in chunks]), spans)
