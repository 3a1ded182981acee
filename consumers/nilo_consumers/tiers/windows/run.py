"""The part of a run that takes windows past their days out of PostgreSQL and the lake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from nilo_consumers.tables import WINDOWS
from nilo_consumers.tiers.told import DROPPED, REMOVED, Step, refusal
from nilo_consumers.tiers.windows.hot import HotWindows
from nilo_consumers.tiers.windows.keep import Keep, keep_of
from nilo_consumers.tiers.windows.plan import Removal, removals
from nilo_consumers.tiers.windows.record import Record
from nilo_consumers.tiers.windows.warm import WarmWindows
from nilo_schemas.settings import Settings

Store = HotWindows | WarmWindows
_STEPS = {HotWindows.name: DROPPED, WarmWindows.name: REMOVED}


def stores(settings: Settings) -> Iterator[Store]:
    """The stores of the windows that there are."""
    if settings.database_url is not None:
        yield HotWindows(settings)
    yield WarmWindows(settings)


def window_steps(settings: Settings, today: date, *, dry_run: bool) -> Iterator[Step]:
    """Take away what is past its days, store by store and day by day; see `run`.

    Raises:
        StoreError: PostgreSQL or the lake does not answer at all.
    """
    keep = keep_of(settings)
    for store in stores(settings):
        for day, some in _due(store, keep, today).items():

            def work(day: date = day, some: Sequence[Removal] = some, store: Store = store) -> None:
                # First noted, then gone: what is missing has a reason at any moment. Rows that are
                # still there count as rows.
                Record(settings).add(store.name, some)
                store.remove(day, some, whole=keep.is_over(day, today))

            refused, what = None if dry_run else refusal(work), _STEPS[store.name]
            for each in some:
                yield Step(WINDOWS, day, what, each.rows, refused, each.window)
            if not some:  # a partition without rows
                yield Step(WINDOWS, day, what, 0, refused)


def _due(store: Store, keep: Keep, today: date) -> dict[date, Sequence[Removal]]:
    """What goes, by day; of a day without windows the partition alone."""
    groups = store.groups(today - timedelta(days=keep.least))
    found = removals(groups, keep, today, store.covered)
    made = store.partition_days(today - timedelta(days=keep.most))
    return {day: found.get(day, []) for day in sorted({*found, *made})}
