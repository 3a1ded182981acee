"""Which events a replay reads: offsets of each partition, for a time or as they are given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from confluent_kafka import TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not so marked
    AdminClient,
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]  # as above
)

from nilo_cli.cluster import connect, watermarks
from nilo_cli.errors import UsageError
from nilo_cli.replays.stores import EXTENTS
from nilo_cli.times import microseconds
from nilo_consumers.dlq.redriven import redriven
from nilo_schemas import groups
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.errors import ContractError
from nilo_schemas.settings import Settings
from nilo_stream_processors.engine.merge import Source
from nilo_stream_processors.engine.plan import plan
from nilo_stream_processors.replay.manifest import Range, StoreName

_MICROSECOND = timedelta(microseconds=1)
_OFFSETS = re.compile(r"(?P<topic>[^:]+):(?P<partition>\d+):(?P<first>\d+)-(?P<last>\d+)").fullmatch
_LAST = re.compile(r"-(\d+)").fullmatch
Ends = dict[Source, tuple[int, int]]


@dataclass(frozen=True)
class Asked:
    """What somebody wants to replay.

    Args:
        store: where from.
        topics: of events, without prefix.
        since, until: windows that lie in between; None is no bound.
        warm_up: so much earlier rules begin to look.
        offsets: `topic:partition:first-last`, of which nothing else is read; or `-N`, the last N of
            each partition.
        where: what a field must be.
    """

    store: StoreName
    topics: Sequence[str]
    since: datetime | None = None
    until: datetime | None = None
    warm_up: timedelta = timedelta(0)
    offsets: Sequence[str] = ()
    where: Mapping[str, str] = field(default_factory=dict)


def range_of(settings: Settings, asked: Asked, catalogue: Catalogue) -> Range:
    """The range that is meant, as the store is now: it does not grow while it is read.

    Raises:
        UsageError: the offsets are not understood, or not there.
        ContractError: a topic does not exist.
        UnreachableError: no broker answers.
        StoreError: the store does not answer.
    """
    since = None if asked.since is None else microseconds(asked.since)
    warm_up = asked.warm_up // _MICROSECOND if since is not None else 0
    ends = _held(settings, asked, catalogue)
    if asked.offsets:
        ends = _given(asked, ends)
    return Range(
        store=asked.store,
        stretches=[(*source, *both) for source, both in sorted(ends.items())],
        since=since,
        until=None if asked.until is None else microseconds(asked.until),
        warm_up=warm_up,
        where=dict(asked.where),
        left_out=_sent_again(settings, ends) if asked.store == "kafka" else [],
    )


def _sent_again(settings: Settings, ends: Ends) -> list[tuple[str, int, int]]:
    """The dead letters' origins that were redriven: live their second message was counted."""
    found = {
        (topic.removeprefix(settings.topic_prefix), number): offsets
        for (topic, number), offsets in redriven(settings).items()
    }
    return [
        (*source, offset)
        for source, (first, stop) in ends.items()
        for offset in found.get(source, ())
        if first <= offset < stop
    ]


def _held(settings: Settings, asked: Asked, catalogue: Catalogue) -> Ends:
    """What the store has from the begin of the range on; all partitions, also empty ones."""
    begin = None if asked.since is None else asked.since - asked.warm_up - _longest_gap(catalogue)
    if asked.store == "kafka":
        return _in_kafka(settings, asked.topics, begin)
    found = {topic: EXTENTS[asked.store](settings, topic, begin) for topic in asked.topics}
    return {
        (topic, number): found[topic].get(number, (0, 0))
        for topic in asked.topics
        for number in range(settings.partitions)
    }


def _in_kafka(settings: Settings, topics: Sequence[str], begin: datetime | None) -> Ends:
    """From the first record on that may hold an event of a time.

    An event that counts is ahead of its record by `future_bound` at most.
    """
    admin, existing = connect(settings)
    names = {settings.topic_prefix + topic: topic for topic in topics}
    for name in names:
        if name not in existing:
            raise ContractError(f"topic {name} does not exist: run `nilo topics create`")
    held = watermarks(admin, {name: existing[name] for name in names})
    if begin is not None:
        record = begin - timedelta(seconds=settings.future_bound)
        firsts = _offsets_at(admin, held, record)
        held = {place: (firsts[place], high) for place, (_, high) in held.items()}
    return {(names[name], number): both for (name, number), both in held.items()}


def _offsets_at(
    admin: AdminClient, held: Mapping[groups.Place, tuple[int, int]], time: datetime
) -> dict[groups.Place, int]:
    places = [TopicPartition(*place) for place in held]
    milliseconds = max(0, microseconds(time) // 1000)
    found = groups.offsets(admin, places, OffsetSpec.for_timestamp(milliseconds))
    # -1 where all records are older.
    return {place: found[place] if found[place] >= 0 else held[place][1] for place in held}


def _given(asked: Asked, held: Ends) -> Ends:
    """The offsets that were named; of all other partitions nothing."""
    if len(asked.offsets) == 1 and (last := _LAST(asked.offsets[0])):
        count = int(last[1])
        return {source: (max(low, high - count), high) for source, (low, high) in held.items()}
    found: Ends = {source: (low, low) for source, (low, _) in held.items()}
    for text in asked.offsets:
        told = _OFFSETS(text)
        if told is None:
            raise UsageError(
                f"--offsets {text!r}: use topic:partition:first-last, such as "
                "events.llm:0:1200-3400, or -1000 for the last ones of each partition"
            )
        source = told["topic"], int(told["partition"])
        if source not in held:
            raise UsageError(f"--offsets {text!r}: no such partition among {_named(held)}")
        first, stop, (_, high) = int(told["first"]), int(told["last"]) + 1, held[source]
        if not first < stop <= high:
            raise UsageError(f"--offsets {text!r}: the last offset there is {high - 1}")
        found[source] = first, stop
    return found


def _named(sources: Iterable[Source]) -> str:
    return ", ".join(sorted({topic for topic, _ in sources}))


def _longest_gap(catalogue: Catalogue) -> timedelta:
    gaps = [one.gap for topic in catalogue.topics() for one in plan(catalogue.of_event(topic), 1)]
    return max(gaps, default=0) * _MICROSECOND
