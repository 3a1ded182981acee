"""How many days a topic stays in each tier. Pure: today is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from nilo_consumers.tables import WINDOWS
from nilo_schemas.contracts import stored_records
from nilo_schemas.errors import SettingsError
from nilo_schemas.settings import Settings

Tier = Literal["hot", "warm", "cold"]


@dataclass(frozen=True)
class Policy:
    """The days before today that each tier holds of a topic, by the UTC day of an event's time."""

    hot: int
    warm: int
    cold: int

    def first(self, tier: Tier, today: date) -> date:
        """The first day that the tier still holds."""
        return today - timedelta(days=getattr(self, tier))

    def expires_on(self, tier: Tier, day: date) -> date:
        """The first day on which a run takes this day out of the tier."""
        return day + timedelta(days=getattr(self, tier) + 1)


def days_in_tier(settings: Settings, tier: Tier) -> dict[str, int]:
    """The days of every topic in a tier; raises SettingsError for a topic that there is not."""
    topics, own = tuple(stored_records()), settings.own_days(tier)
    if unknown := sorted(own.keys() - set(topics)):
        raise SettingsError(
            f"setting {tier}_days_by_topic: there is no topic {unknown[0]!r}; known: "
            + ", ".join(topics)
        )
    general: int = getattr(settings, f"{tier}_days")
    return dict.fromkeys(topics, general) | own


def policies(settings: Settings) -> dict[str, Policy]:
    """The policy of the alerts and of every event family, by topic without prefix.

    Raises:
        SettingsError: a setting names a topic that there is not, or the archive would have to
            forget days before the lake gives them away.
    """
    tiers: tuple[Tier, ...] = ("hot", "warm", "cold")
    hot, warm, cold = (days_in_tier(settings, tier) for tier in tiers)
    found = {
        topic: Policy(hot[topic], warm[topic], cold[topic])
        for topic in stored_records()
        if topic != WINDOWS
    }
    for topic, policy in found.items():
        if policy.cold < policy.warm:
            raise SettingsError(
                f"{topic}: {policy.cold} cold days are fewer than its {policy.warm} warm days: "
                "both count from today; raise cold_days or lower warm_days (or their by_topic)"
            )
    return found
