"""Looks for the events that caused others: in a stretch of Kafka, or in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not so marked
    AdminClient,
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]  # as above
)

from nilo_cli.cluster import connect, watermarks
from nilo_cli.offset_ranges import decoded, messages_of
from nilo_cli.why.chain import Chain, Node, follow
from nilo_cli.why.evidence import selected_by, time_of
from nilo_cli.why.found import active_within
from nilo_cli.why.selected import Errors, Place, RawEvent, columns_of, raw_events
from nilo_consumers.batch import PARTITION
from nilo_consumers.event_rows import related_postgres
from nilo_schemas import groups
from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.families import families
from nilo_schemas.settings import Settings

# Messages of a stretch that are held in memory at most: of more PostgreSQL is asked, where there
# is one, as it finds ids by its indexes.
MOST = 200_000
# The event of a span is sent when the span is over, so a cause may come a little after its effect.
_AFTER = timedelta(minutes=1)
_Batches = Iterable[tuple[str, pa.RecordBatch]]
_Read = Callable[[Collection[str], Collection[str]], _Batches]


@dataclass(frozen=True)
class Upstream:
    """The chain above an alert's events, and where it was looked for."""

    chain: Chain
    where: str
    note: str = ""


def trace_back(
    settings: Settings,
    catalogue: Catalogue,
    alert: Alert,
    events: Sequence[RawEvent],
    *,
    published: Sequence[Alert],
    back: timedelta,
) -> Upstream:
    """Follow the ids of an alert's events to what they came from.

    Args:
        events: those that the alert was found in.
        published: the transitions of all alerts, in event time.
        back: how long before the alert the events are looked for.

    Raises:
        UnreachableError: no broker answers.
    """
    begun, ended = time_of(alert)
    earliest = min([begun, *(event.time for event in events)]) - back
    others = [
        Place(each, selected_by(each, catalogue))
        for each in active_within(published, earliest, ended)
        if each.fingerprint != alert.fingerprint
    ]
    seen = _Seen(Errors(catalogue), others)
    if not any(_has_links(event) for event in events):
        return Upstream(follow(events, lambda _ids, _traces: ()), "")
    read, where, note = _reader(settings, events, earliest, ended + _AFTER, back)
    chain = follow(
        events,
        lambda ids, traces: [
            node for topic, batch in read(ids, traces) for node in seen.nodes(topic, batch)
        ],
    )
    return Upstream(chain, where, note)


def _has_links(event: RawEvent) -> bool:
    return event.text("causation_id") is not None or event.text("trace_id") is not None


class _Seen:
    """Makes events of rows: which are errors, and which belong to other alerts."""

    def __init__(self, errors: Errors, others: Sequence[Place]) -> None:
        self._errors, self._others = errors, others

    def nodes(self, topic: str, batch: pa.RecordBatch) -> Iterator[Node]:
        """The rows of one topic as events on the way."""
        columns = columns_of(batch)
        owners = self._owners(topic, batch)
        rows = np.arange(batch.num_rows)
        events = raw_events(topic, batch, rows, self._errors.mask(topic, columns))
        return (Node(event, owners.get(row)) for row, event in enumerate(events))

    def _owners(self, topic: str, batch: pa.RecordBatch) -> dict[int, Alert]:
        """The alert that each row belongs to, the one that began first."""
        owners: dict[int, Alert] = {}
        partitions = batch.column(batch.schema.get_field_index(PARTITION))
        for partition in pc.unique(partitions).to_pylist():
            rows = np.flatnonzero(partitions.to_numpy() == partition)
            columns = columns_of(batch.take(pa.array(rows)))
            for place in sorted(self._others, key=lambda each: each.alert.starts_at):
                for row in rows[place.mask(topic, partition, columns)].tolist():
                    owners.setdefault(row, place.alert)
        return owners


def _reader(
    settings: Settings,
    events: Sequence[RawEvent],
    since: datetime,
    until: datetime,
    back: timedelta,
) -> tuple[_Read, str, str]:
    """How to look for events, where that is, and what was left out."""
    known = settings.database_url is not None
    ranges = _stretch(settings, events, back)
    count = sum(stop - first for first, stop in ranges.values())
    if known and (count > MOST or not ranges):
        return _in_postgres(settings, since, until), "postgres", ""
    note = ""
    if count > MOST:
        share = MOST / count
        ranges = {
            place: (stop - int((stop - first) * share), stop)
            for place, (first, stop) in ranges.items()
        }
        note = f"only the newest {MOST:,} of {count:,} messages were looked through"
    return _in_kafka(settings, ranges, since, until), "kafka", note


def _stretch(
    settings: Settings, events: Sequence[RawEvent], back: timedelta
) -> dict[groups.Place, tuple[int, int]]:
    """The offsets of all families from so long before the events; none when these are deleted.

    Kafka's own times count, as offsets are found by them: what is played may be years old.
    """
    admin, existing = connect(settings)
    topics = {settings.topic_prefix + topic for topic in families()}
    held = watermarks(admin, {name: existing[name] for name in topics if name in existing})
    times = _kafka_times(settings, events, held)
    if not times:
        return {}
    before = round(back / timedelta(milliseconds=1))
    first = _offsets_at(admin, held, min(times) - before)
    stop = _offsets_at(admin, held, max(times) + round(_AFTER / timedelta(milliseconds=1)))
    return {
        place: (max(low, first.get(place, high)), stop.get(place, high))
        for place, (low, high) in held.items()
    }


def _kafka_times(
    settings: Settings, events: Sequence[RawEvent], held: dict[groups.Place, tuple[int, int]]
) -> list[int]:
    """When Kafka took the events that it still holds, in milliseconds."""
    found: list[int] = []
    for pick in (min, max):
        places: dict[groups.Place, int] = {}
        for event in events:
            place = settings.topic_prefix + event.topic, event.partition
            places[place] = pick(places.get(place, event.offset), event.offset)
        ranges = {
            place: (offset, offset + 1)
            for place, offset in places.items()
            if held.get(place, (offset + 1, 0))[0] <= offset
        }
        for messages in messages_of(settings, ranges):
            found += [message.timestamp()[1] for message in messages]
    return found


def _offsets_at(
    admin: AdminClient, held: dict[groups.Place, tuple[int, int]], milliseconds: int
) -> dict[groups.Place, int]:
    """The first offset at or after a time; none where all messages are older."""
    places = [TopicPartition(*place) for place in held]
    found = groups.offsets(admin, places, OffsetSpec.for_timestamp(max(0, milliseconds)))
    return {place: offset for place, offset in found.items() if offset >= 0}


def _in_kafka(
    settings: Settings,
    ranges: dict[groups.Place, tuple[int, int]],
    since: datetime,
    until: datetime,
) -> _Read:
    wanted = (pc.field("time") >= _time(since)) & (pc.field("time") < _time(until))
    prefix = settings.topic_prefix
    held = [
        (topic.removeprefix(prefix), rows.filter(wanted))
        for (topic, _), rows in decoded(settings, ranges)
    ]

    def read(ids: Collection[str], traces: Collection[str]) -> _Batches:
        mine = _is_in("id", ids) | _is_in("trace_id", traces)
        for topic, rows in held:
            for batch in rows.filter(mine).combine_chunks().to_batches():
                yield topic, batch

    return read


def _in_postgres(settings: Settings, since: datetime, until: datetime) -> _Read:
    def read(ids: Collection[str], traces: Collection[str]) -> _Batches:
        for topic, family in families().items():
            for batch in related_postgres(
                settings, family, ids=ids, traces=traces, since=since, until=until
            ):
                yield topic, batch

    return read


def _is_in(name: str, values: Collection[str]) -> pc.Expression:
    return pc.field(name).isin(pa.array([*values], pa.string()))


def _time(value: datetime) -> pa.Scalar:
    return pa.scalar(value, pa.timestamp("us", "UTC"))
