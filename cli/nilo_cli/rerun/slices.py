"""The final windows of some time, slice by slice, from Kafka or from a store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not so marked
    AdminClient,
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]  # as above
)

from nilo_cli.cluster import connect, watermarks
from nilo_cli.offset_ranges import Ranges, decoded, decoder_of
from nilo_cli.times import microseconds
from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.window_rows import COLUMNS, SCHEMA, WINDOW_ROWS, Kind
from nilo_schemas import groups
from nilo_schemas.errors import ContractError
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings

KAFKA = "kafka"
SLICE = timedelta(hours=6)
# Windows that end together are published by several workers, of which one may have been away.
_TOGETHER = timedelta(hours=1)


@dataclass(frozen=True)
class Wanted:
    """Which windows: of these metrics and lengths, that end in `(since, until]`.

    `labels` are asked of the stores; Kafka gives all series.
    """

    windows: frozenset[Kind]
    since: datetime
    until: datetime
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """The metrics."""
        return sorted({metric for metric, _ in self.windows})


@dataclass(frozen=True)
class Slice:
    """Final windows with their origin; what ends at `safe` (µs) or earlier has all been given."""

    rows: pa.Table
    safe: int


def slices(settings: Settings, store: str, wanted: Wanted) -> Iterator[Slice]:
    """The windows, in about the order of their ends; all revisions that are there.

    Of a store a slice is six hours of windows, of Kafka what came in six hours.

    Raises:
        UnreachableError: no broker answers.
        StoreUnavailableError: the store does not answer.
    """
    if store == KAFKA:
        return _kafka(settings, wanted)
    return _stored(settings, store, wanted)


def by_kind(rows: pa.Table, kinds: Collection[Kind]) -> Iterator[tuple[Kind, pa.RecordBatch]]:
    """The rows of each of these kinds, in batches."""
    for kind in sorted(kinds):
        mine = rows.filter((pc.field("metric") == kind[0]) & (pc.field("window") == kind[1]))
        for batch in mine.combine_chunks().to_batches():
            yield kind, batch


def _stored(settings: Settings, store: str, wanted: Wanted) -> Iterator[Slice]:
    since = wanted.since
    while since < wanted.until:
        until = min(since + SLICE, wanted.until)
        found = WINDOW_ROWS[store](settings, wanted.windows, since, until, wanted.labels)
        rows = [_asked(batch, wanted) for batch in found]
        yield Slice(_joined(rows), microseconds(until))
        since = until


def _kafka(settings: Settings, wanted: Wanted) -> Iterator[Slice]:
    newest, decoder = 0, decoder_of(settings)
    for ranges in _in_turn(settings, wanted):
        found = decoded(settings, ranges, _of(wanted.metrics), decoder=decoder)
        rows = [_asked(batch, wanted) for _, table in found for batch in table.to_batches()]
        table = _joined(rows)
        if table.num_rows:
            newest = max(newest, microseconds(pc.max(table["window_end"]).as_py()))
        yield Slice(table, newest - _TOGETHER // timedelta(microseconds=1))
    yield Slice(_joined([]), microseconds(wanted.until))


def _of(metrics: Sequence[str]) -> Callable[[Message], bool]:
    """Whether a message is a window of one of these metrics, by its key."""
    begins = tuple(f'["{metric}"'.encode() for metric in metrics)

    def is_of(message: Message) -> bool:
        key: Any = message.key()  # bytes, but for the stub
        return key is None or key.startswith(begins)

    return is_of


def _in_turn(settings: Settings, wanted: Wanted) -> Iterator[Ranges]:
    """The offsets of what came in each six hours; what is older than that comes first, at once."""
    admin, held = windows_held(settings)
    times = [wanted.since]
    while times[-1] < wanted.until:
        times.append(times[-1] + SLICE)
    marks = [{place: low for place, (low, _) in held.items()}]
    for time in times[1:]:
        offsets = _offsets_at(admin, held, time)
        if offsets != marks[-1]:
            marks.append(offsets)
    marks.append({place: high for place, (_, high) in held.items()})
    for first, stop in pairwise(marks):
        yield {place: (first[place], stop[place]) for place in held}


def windows_held(
    settings: Settings,
) -> tuple[AdminClient, dict[groups.Place, tuple[int, int]]]:
    """A client of the brokers, and the offsets of `metrics.windows` that they hold."""
    admin, existing = connect(settings)
    topic = settings.topic_prefix + MetricWindow.kafka_topic
    if topic not in existing:
        raise ContractError(f"topic {topic} does not exist: run `nilo topics create`")
    return admin, watermarks(admin, {topic: existing[topic]})


def _offsets_at(
    admin: AdminClient, held: dict[groups.Place, tuple[int, int]], time: datetime
) -> dict[groups.Place, int]:
    places = [TopicPartition(*place) for place in held]
    milliseconds = max(0, microseconds(time) // 1000)
    found = groups.offsets(admin, places, OffsetSpec.for_timestamp(milliseconds))
    # -1 where all messages are older.
    return {place: found[place] if found[place] >= 0 else held[place][1] for place in held}


def _asked(batch: pa.RecordBatch, wanted: Wanted) -> pa.RecordBatch:
    """The final windows that are asked for."""
    rows = batch.select(COLUMNS)
    ends = rows["window_end"]
    mask = pc.and_(rows["final"], pc.less_equal(ends, _scalar(wanted.until)))
    mask = pc.and_(mask, pc.greater(ends, _scalar(wanted.since)))
    pairs = pa.array([f"{metric}\0{window}" for metric, window in wanted.windows])
    names = pc.binary_join_element_wise(rows["metric"], rows["window"], "\0")
    return rows.filter(pc.and_(mask, pc.is_in(names, pairs)))


def _joined(rows: list[pa.RecordBatch]) -> pa.Table:
    order = [(PARTITION, "ascending"), (OFFSET, "ascending")]
    return pa.Table.from_batches(rows, SCHEMA).sort_by(order)


def _scalar(time: datetime) -> pa.Scalar:
    return pa.scalar(time, pa.timestamp("us", "UTC"))
