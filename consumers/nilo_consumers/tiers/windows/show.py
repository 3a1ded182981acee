"""How many windows of each length the stores hold, and until when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from nilo_consumers.tables import WINDOWS
from nilo_consumers.tiers.policy import Tier
from nilo_consumers.tiers.told import Held
from nilo_consumers.tiers.windows.hot import HotWindows
from nilo_consumers.tiers.windows.keep import Keep, fixed_window, keep_of
from nilo_consumers.tiers.windows.plan import Group, Key, removals
from nilo_consumers.tiers.windows.run import Store, stores
from nilo_consumers.tiers.windows.warm import WarmWindows
from nilo_schemas.settings import Settings

_TIERS: dict[str, Tier] = {HotWindows.name: "hot", WarmWindows.name: "warm"}


def windows_held(settings: Settings, today: date) -> Iterator[Held]:
    """What the stores hold of each length, shortest first.

    Raises:
        StoreError: PostgreSQL or the lake does not answer or refuses.
    """
    keep = keep_of(settings)
    for store in stores(settings):
        groups = store.groups()
        leaves = _leaving(store, groups, keep, today)
        for window in sorted({each.window for each in groups}, key=_order):
            some = [each for each in groups if each.window == window]
            days = {each.day for each in some}
            rows, first = sum(each.rows for each in some), min(leaves[each.key] for each in some)
            yield Held(
                WINDOWS, _TIERS[store.name], len(days), min(days), max(days), rows, None, first,
                window,
            )  # fmt: skip


def _leaving(store: Store, groups: Sequence[Group], keep: Keep, today: date) -> dict[Key, date]:
    """The first day on which a run takes windows away, if longer ones still stand in for them."""
    going = {
        (each.day, each.window, metric)
        for some in removals(groups, keep, today, store.covered).values()
        for each in some
        for metric in each.metrics
    }
    longest: dict[str, timedelta] = {}
    for each in groups:
        if fixed := fixed_window(each.window):
            longest[each.metric] = max(fixed.length, longest.get(each.metric, fixed.length))
    found = {}
    for each in groups:
        fixed = fixed_window(each.window)
        followed = fixed is not None and fixed.length < longest[each.metric]
        goes = each.key in going if keep.is_due(each.window, each.day, today) else followed
        days = keep.days(each.window) if goes else keep.most
        found[each.key] = each.day + timedelta(days=days + 1)
    return found


def _order(window: str) -> tuple[timedelta, str]:
    fixed = fixed_window(window)
    return (fixed.length if fixed else timedelta.max), window
