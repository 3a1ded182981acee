"""What a run and a look at the tiers tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from nilo_consumers.errors import StoreError
from nilo_consumers.tiers.policy import Tier

DROPPED, ARCHIVED, DELETED = "drop from hot", "lake to archive", "delete from archive"
REMOVED = "delete from lake"


@dataclass(frozen=True)
class Step:
    """What was, or would be, done with one day of a topic.

    Args:
        topic: without prefix.
        event_date: UTC; None: the rows of all old days without a partition of their own.
        step: DROPPED, ARCHIVED, DELETED or REMOVED.
        rows: how many it moves or removes.
        refused: why it was not done; None: it was, or would be.
        window: of windows, their length.
    """

    topic: str
    event_date: date | None
    step: str
    rows: int
    refused: str | None = None
    window: str | None = None


@dataclass(frozen=True)
class Held:
    """A topic in a tier.

    Args:
        topic: without prefix.
        tier: hot, warm or cold.
        days: how many UTC days it has rows of.
        first_day: the oldest.
        last_day: the newest.
        rows: how many.
        bytes: with indexes (hot), or of the files; None: not known by length.
        expires_on: the first day on which the oldest is to leave.
        window: of windows, their length.
    """

    topic: str
    tier: Tier
    days: int
    first_day: date
    last_day: date
    rows: int
    bytes: int | None
    expires_on: date
    window: str | None = None


def refusal(work: Callable[[], None]) -> str | None:
    """Why this cannot be done; None: it is done."""
    try:
        work()
    except StoreError as error:
        return str(error)
    return None
