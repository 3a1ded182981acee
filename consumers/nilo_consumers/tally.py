"""The events and errors in the final windows of a series, as counters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from nilo_schemas.results import MetricWindow
from nilo_schemas.windows import Window

_COUNTED_BACK = timedelta(hours=1)  # a revision of an older window is no longer counted
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Share(NamedTuple):
    """What a window adds, by its newest revision."""

    revision: int
    end: datetime
    events: int
    errors: int


_NOTHING = _Share(-1, _EPOCH, 0, 0)


class Tally:
    """Counts each event once, whatever revisions come and whichever sessions are joined.

    Args:
        kind: of the windows. Of hopping ones, which overlap, those side by side count.
    """

    def __init__(self, kind: Window) -> None:
        self._kind = kind
        # A session that takes in others may have begun two gaps before the newest one.
        self._reach = _COUNTED_BACK + 2 * kind.length
        self._shares: dict[datetime, _Share] = {}
        self._newest = _EPOCH
        self._events = self._errors = 0
        self._shown = 0, 0

    def add(self, window: MetricWindow) -> None:
        """Count a final window, instead of what an older revision of it said."""
        if self._kind.kind == "hopping" and (window.window_start - _EPOCH) % self._kind.length:
            return
        self._newest = max(self._newest, window.window_end)
        before = self._shares.get(window.window_start, _NOTHING)
        if window.window_end >= self._oldest() and window.revision >= before.revision:
            share = _Share(window.revision, window.window_end, window.count, window.errors)
            self._events += share.events - before.events
            self._errors += share.errors - before.errors
            self._shares[window.window_start] = share
        self._forget()

    def shown(self) -> tuple[int, int]:
        """Events and errors for a scrape.

        What was shown once stays: to Prometheus, a counter that falls has begun anew at 0.
        """
        events, errors = self._shown
        self._shown = max(self._events, events), max(self._errors, errors)
        return self._shown

    def _oldest(self) -> datetime:
        return self._newest - self._reach

    def _forget(self) -> None:
        oldest = self._oldest()
        for start in [start for start, share in self._shares.items() if share.end < oldest]:
            del self._shares[start]
