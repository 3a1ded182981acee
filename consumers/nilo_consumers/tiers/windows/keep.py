"""How many days windows of each length stay. Pure: today is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from nilo_schemas.settings import Settings
from nilo_schemas.windows import Window, parse_keep, parse_window


@dataclass(frozen=True)
class Keep:
    """The days before today that windows stay, by the UTC day in which they begin.

    Args:
        by_length: the lengths that have a number of their own, shortest first.
    """

    by_length: Mapping[timedelta, int]

    @property
    def least(self) -> int:
        """The days that every window stays."""
        return min(self.by_length.values())

    @property
    def most(self) -> int:
        """The days after which every window goes."""
        return max(self.by_length.values())

    def days(self, window: str) -> int:
        """The days of windows that are named so, while longer ones stand in for them.

        Those of the shortest named length that is not shorter; beyond the longest, and for
        sessions, for which no other window stands in, the most.
        """
        fixed = fixed_window(window)
        enough = (
            days for length, days in self.by_length.items() if fixed and length >= fixed.length
        )
        return next(enough, self.most)

    def is_due(self, window: str, day: date, today: date) -> bool:
        """Whether the days of these windows are over."""
        return day < today - timedelta(days=self.days(window))

    def is_over(self, day: date, today: date) -> bool:
        """Whether the days of all windows are over, whatever stands in for them."""
        return day < today - timedelta(days=self.most)


def keep_of(settings: Settings) -> Keep:
    """What the setting `windows_keep` says."""
    return Keep(parse_keep(settings.windows_keep))


def fixed_window(text: str) -> Window | None:
    """The window of a fixed length that is named so; None for sessions and unknown names."""
    try:
        window = parse_window(text)
    except ValueError:  # of another program
        return None
    return None if window.kind == "session" else window
