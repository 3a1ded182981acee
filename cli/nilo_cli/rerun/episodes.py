"""The episodes of a rule: the times in which its alerts were active."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from nilo_cli.times import microseconds
from nilo_schemas.alerts import Alert, AlertState


@dataclass(frozen=True)
class Episode:
    """A time in which an alert was active; times in microseconds since 1970.

    Attributes:
        series: its labels as JSON, the same text for the same labels.
        since: since when the condition held.
        fired: when it began to fire.
        end: when it was resolved, or up to when was looked.
        resolved: whether it was.
        held: whether it began as one that flaps, and was held for that.
    """

    series: str
    since: int
    fired: int
    end: int
    resolved: bool = True
    held: bool = False


@dataclass
class Episodes:
    """Those of one rule, found in its transitions; `found` is in the order of their ends."""

    found: list[Episode] = field(default_factory=list)
    _active: dict[str, Alert] = field(default_factory=dict)

    def take(self, alert: Alert) -> None:
        """Take in a transition."""
        series = json.dumps(alert.labels, sort_keys=True, ensure_ascii=False)
        if alert.state is AlertState.FIRING:
            # One that was without data fires again in the same episode.
            self._active.setdefault(series, alert)
        elif alert.state is AlertState.RESOLVED and series in self._active:
            self._end(series, microseconds(alert.time), resolved=True)

    def finish(self, until: int) -> None:
        """What is active still is so up to now (µs)."""
        for series in sorted(self._active):
            self._end(series, until, resolved=False)

    def _end(self, series: str, end: int, *, resolved: bool) -> None:
        began = self._active.pop(series)
        since, fired = microseconds(began.starts_at), microseconds(began.time)
        self.found.append(Episode(series, since, fired, end, resolved, began.flapping))
