"""One run over the tiers: hot days dropped, warm ones archived, cold ones deleted; windows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import date

from nilo_consumers.errors import StoreUnavailableError
from nilo_consumers.lake import existing_table
from nilo_consumers.postgres_retention import Expired
from nilo_consumers.tables import WINDOWS
from nilo_consumers.tiers import hot
from nilo_consumers.tiers.cold import Archive
from nilo_consumers.tiers.policy import Policy, policies
from nilo_consumers.tiers.told import ARCHIVED, DELETED, DROPPED, Step, refusal
from nilo_consumers.tiers.warm import WarmDay, days
from nilo_consumers.tiers.warm_files import note_files
from nilo_consumers.tiers.windows.run import window_steps
from nilo_schemas.locks import locked
from nilo_schemas.settings import Settings


def run(
    settings: Settings, topics: Collection[str], today: date, *, dry_run: bool
) -> Iterator[Step]:
    """Do what the policy asks for by today, step by step; `dry_run` only tells the steps.

    What is refused stays as it is, and the other steps go on. Sinks may write meanwhile. A run
    that was killed leaves nothing that the next one would not finish.

    Args:
        settings: where the tiers are, and how long they hold what.
        topics: of event families, and the windows, without prefix.
        today: in UTC.
        dry_run: change nothing.

    Raises:
        SettingsError: the policy contradicts itself.
        StoreError: PostgreSQL or the lake does not answer at all.
        OSError: the archive is not ours to write to, or a file of it cannot be deleted.
    """
    known = {topic: policy for topic, policy in policies(settings).items() if topic in topics}
    with nullcontext() if dry_run else alone(settings):
        yield from _steps(settings, known, today, dry_run=dry_run)
        if WINDOWS in topics:
            yield from window_steps(settings, today, dry_run=dry_run)
        if not dry_run:
            for topic, policy in known.items():
                note_files(settings, topic, policy)


def _steps(
    settings: Settings, known: Mapping[str, Policy], today: date, *, dry_run: bool
) -> Iterator[Step]:
    if settings.database_url is not None:
        yield from _drop(settings, known, today, dry_run=dry_run)
    for topic, policy in known.items():
        yield from _archive(settings, topic, policy, today, dry_run=dry_run)
        yield from _expire(settings, topic, policy, today, dry_run=dry_run)


def _drop(
    settings: Settings, known: Mapping[str, Policy], today: date, *, dry_run: bool
) -> Iterator[Step]:
    for each in hot.plan(settings, known, today):
        topic, day = each.partition.topic, each.partition.day

        def work(each: Expired = each, policy: Policy = known[topic]) -> None:
            hot.drop(settings, each, policy, dry_run=dry_run)

        yield Step(topic, day, DROPPED, each.rows, refusal(work))


def _archive(
    settings: Settings, topic: str, policy: Policy, today: date, *, dry_run: bool
) -> Iterator[Step]:
    table = existing_table(settings, topic)
    if table is None:
        return
    cold = Archive(settings, topic, policy)
    for day in [day for day in days(table) if day < policy.first("warm", today)]:
        table.update_incremental()
        warm, rows = WarmDay(table, topic, day), 0

        def work(warm: WarmDay = warm) -> None:
            nonlocal rows
            rows = cold.lacking(warm) if dry_run else cold.take(warm)

        refused = refusal(work)
        yield Step(topic, day, ARCHIVED, rows, refused)


def _expire(
    settings: Settings, topic: str, policy: Policy, today: date, *, dry_run: bool
) -> Iterator[Step]:
    cold = Archive(settings, topic, policy)
    over = cold.over(today) if dry_run else cold.expire(today)
    yield from (Step(topic, each.event_date, DELETED, each.rows) for each in over)


def alone(settings: Settings) -> AbstractContextManager[None]:
    """Two runs at a time would write the same file; entering raises StoreUnavailableError."""
    folder = settings.archive_location
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"another `nilo tiers run` or `nilo erase` is at work in {folder}"
    return locked(folder / ".lock", StoreUnavailableError(busy))
