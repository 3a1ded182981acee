"""What each tier holds of a topic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import LiteralString

import psycopg
from psycopg import sql

from nilo_consumers.postgres import CONNECT_LIMIT, translated
from nilo_consumers.tables import WINDOWS, table_name, time_column
from nilo_consumers.tiers.manifest import Entry, Manifest
from nilo_consumers.tiers.policy import Policy, Tier, policies
from nilo_consumers.tiers.told import Held
from nilo_consumers.tiers.windows.show import windows_held
from nilo_schemas.settings import Settings

_SIZE: LiteralString = """
    SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = %s::regclass"""
_DAYS: LiteralString = """
    SELECT count(DISTINCT day), min(day), max(day), coalesce(sum(rows), 0) FROM (
        SELECT ({time} AT TIME ZONE 'UTC')::date AS day, count(*) AS rows FROM {table} GROUP BY 1
    ) AS by_day"""


def tiers(settings: Settings, topics: Iterable[str], today: date) -> Iterator[Held]:
    """What the tiers hold; those that hold nothing of a topic are left out.

    Args:
        settings: where the tiers are.
        topics: of event families, and the windows, without prefix.
        today: in UTC.

    Raises:
        StoreError: PostgreSQL or the lake does not answer or refuses.
    """
    manifest, known = Manifest(settings), policies(settings)
    for topic in topics:
        if topic == WINDOWS:
            yield from windows_held(settings, today)
            continue
        if settings.database_url is not None:
            yield from _hot(settings, topic, known[topic])
        lines = [each for each in manifest.entries(topic) if not each.removed_at]
        stores: tuple[Tier, ...] = ("warm", "cold")
        for tier in stores:
            files = [each for each in lines if each.tier == tier]
            yield from _of_files(topic, tier, files, known[topic])


def _hot(settings: Settings, topic: str, policy: Policy) -> Iterator[Held]:
    table = sql.Identifier(settings.database_schema, table_name(topic))
    query = sql.SQL(_DAYS).format(table=table, time=sql.Identifier(time_column(topic)))
    with (
        translated("counting"),
        psycopg.connect(settings.database(), connect_timeout=CONNECT_LIMIT) as connection,
    ):
        try:
            size = connection.execute(_SIZE, [table.as_string(connection)]).fetchone()
            found = connection.execute(query).fetchone()
        except psycopg.errors.UndefinedTable:
            return
    if found and size and found[0]:
        days, first, last, rows = found
        over = policy.expires_on("hot", first)
        yield Held(topic, "hot", days, first, last, int(rows), int(size[0]), over)


def _of_files(topic: str, tier: Tier, files: Sequence[Entry], policy: Policy) -> Iterator[Held]:
    days = {each.event_date for each in files if each.event_date}
    if days:
        rows, size = sum(each.rows for each in files), sum(each.size for each in files)
        over = policy.expires_on(tier, min(days))
        yield Held(topic, tier, len(days), min(days), max(days), rows, size, over)
