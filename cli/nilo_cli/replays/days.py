"""Days that `nilo tiers` has moved: the archive has those before, the lake those after."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

from nilo_cli.errors import UsageError
from nilo_cli.replays.ranges import Asked
from nilo_consumers.lake import existing_table
from nilo_consumers.tiers.read import archived_days
from nilo_consumers.tiers.warm import days
from nilo_schemas.settings import Settings


def within_days(settings: Settings, asked: Asked) -> Asked:
    """The same, in the days that the store has.

    The offsets of a day lie among those of the days beside it. So a window of a day that the other
    store has would lack events, and nothing about it would tell.

    Raises:
        UsageError: the times that were asked for reach into days of the other store.
        StoreError: a store cannot be read.
    """
    if asked.store == "kafka":
        return asked
    moved = [day for topic in asked.topics for day in archived_days(settings, topic)]
    if not moved:
        return asked
    first = max(moved) + timedelta(days=1)
    border = datetime.combine(first, time.min, UTC)
    if asked.store == "parquet":
        if asked.since is not None and asked.since < border:
            raise UsageError(
                f"{asked.since:%Y-%m-%d} is in the archive (`--source archive`): the lake has all "
                f"events from {first} on (`--from {first}`)"
            )
        return replace(asked, since=asked.since or border)
    if not _has_from(settings, asked, first):
        return asked
    if asked.until is not None and asked.until > border:
        raise UsageError(
            f"the lake has the days from {first} on (`--source parquet`): the archive ends before "
            f"them (`--to {first}`)"
        )
    return replace(asked, until=asked.until or border)


def _has_from(settings: Settings, asked: Asked, first: date) -> bool:
    """Whether the lake has events of a day, or of one after it."""
    tables = [existing_table(settings, topic) for topic in asked.topics]
    return any(day >= first for table in tables if table is not None for day in days(table))
