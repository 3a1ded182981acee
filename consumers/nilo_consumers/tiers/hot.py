"""Out of hot: PostgreSQL drops rows only when the lake or the archive has every one of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, date, timedelta

import psycopg
from psycopg import sql

from nilo_consumers.audit.in_tables import STRETCHES, spans_by_partition
from nilo_consumers.audit.spans import Spans, count
from nilo_consumers.batch import Span
from nilo_consumers.errors import StoreMovedError, StoreRefusedError
from nilo_consumers.lake import existing_table
from nilo_consumers.postgres import CONNECT_LIMIT, translated
from nilo_consumers.postgres_retention import Expired, drop_expired, plan_retention
from nilo_consumers.tables import time_column
from nilo_consumers.tiers.cold import Archive
from nilo_consumers.tiers.manifest import EXPIRED, Entry, Manifest, by_partition, now
from nilo_consumers.tiers.policy import Policy
from nilo_consumers.tiers.warm import offsets_of, without
from nilo_schemas.settings import Settings

_ROWS = sql.SQL(
    "(SELECT kafka_partition, kafka_offset FROM {part} WHERE {time} < {before}) AS kept"
)


def plan(settings: Settings, topics: Collection[str], today: date) -> list[Expired]:
    """The partitions of these topics (without prefix) that are past their hot days.

    Raises:
        StoreError: PostgreSQL does not answer or refuses.
    """
    found = plan_retention(settings, today)
    return [each for each in found if each.partition.topic in topics]


def drop(settings: Settings, each: Expired, policy: Policy, *, dry_run: bool) -> None:
    """Drop a partition's rows, all of which another tier has, and note it in the manifest.

    `dry_run`: only see whether they are.

    Raises:
        StoreRefusedError: another tier lacks some, or a file of the archive is damaged.
        StoreMovedError: rows came meanwhile: the next run sees to them.
        StoreUnavailableError: PostgreSQL or the lake does not answer.
    """
    rows = _offsets(settings, each)
    if sum(map(count, rows.values())) != each.rows:
        raise StoreMovedError(f"{each.partition.name} has other rows than before: run again")
    lacking = without(rows, _in_lake(settings, each))
    if lacking:
        archived = _in_archive(settings, each.partition.topic, policy, lacking)
        lacking = without(lacking, archived)
    if lacking:
        raise StoreRefusedError(_told(each, lacking))
    if dry_run:
        return
    _note(settings, each, rows)
    list(drop_expired(settings, [each]))


def _offsets(settings: Settings, each: Expired) -> dict[int, list[Span]]:
    """The offsets of the rows that are to go, by partition of the topic."""
    rows = _ROWS.format(
        part=sql.Identifier(settings.database_schema, each.partition.name),
        time=sql.Identifier(time_column(each.partition.topic)),
        before=sql.Literal(each.before.isoformat()),
    )
    with (
        translated("reading what is past its hot days"),
        psycopg.connect(settings.database(), connect_timeout=CONNECT_LIMIT) as connection,
        connection.cursor("tiers") as cursor,  # on the server: rows come some at a time
    ):
        cursor.itersize = 10_000
        return spans_by_partition(cursor.execute(sql.SQL(STRETCHES).format(table=rows)))


def _in_lake(settings: Settings, each: Expired) -> Mapping[int, Spans]:
    """The offsets of the same days in the lake, by partition of the topic."""
    topic, day = each.partition.topic, each.partition.day
    table = existing_table(settings, topic)
    if table is None:
        return {}
    if day is not None:
        return offsets_of(table, topic, day, day + timedelta(days=1))
    return offsets_of(table, topic, date.min, each.before.astimezone(UTC).date())


def _in_archive(
    settings: Settings, topic: str, policy: Policy, wanted: Mapping[int, Spans]
) -> Mapping[int, Spans]:
    """The offsets in those files of the archive that have some of these, or had them."""
    cold, found = Archive(settings, topic, policy), []
    for file in cold.entries():
        held = by_partition([file])
        if without(wanted, held) != wanted:
            cold.check(file)
            found.append(file)
    gone = [one for one in Manifest(settings).entries(topic) if one.reason == EXPIRED]
    return by_partition([*found, *(one for one in gone if one.tier == "cold")])


def _told(each: Expired, lacking: Mapping[int, Spans]) -> str:
    number, spans = next(iter(lacking.items()))
    rows = sum(map(count, lacking.values()))
    return (
        f"{each.partition.name} is kept: {rows:,} of its {each.rows:,} rows are in no other tier, "
        f"such as {each.partition.topic}/{number} offset {spans[0].start}; is `nilo sink parquet` "
        "behind? `nilo audit reconcile` tells more"
    )


def _note(settings: Settings, each: Expired, rows: Mapping[int, Spans]) -> None:
    """Have it in the manifest before the rows go: what is missing then has a reason."""
    manifest, topic = Manifest(settings), each.partition.topic
    offsets = tuple((number, span) for number, spans in rows.items() for span in spans)
    known = (one for one in manifest.entries(topic) if one.tier == "hot")
    if each.rows == 0 or any(
        (one.path, one.offsets) == (each.partition.name, offsets) for one in known
    ):
        return  # a run that was killed has noted it
    at = now()
    manifest.add([Entry(
        path=each.partition.name, tier="hot", topic=topic, event_date=each.partition.day,
        rows=each.rows, size=each.size, offsets=offsets, sha256=None,
        made_at=at, removed_at=at, reason=EXPIRED,
    )])  # fmt: skip
