"""How long to wait before the next try."""

from __future__ import annotations

import random

FIRST = 0.1
LONGEST = 10.0


class Backoff:
    """Doubling waits with full jitter, so that many sinks do not come back at the same moment."""

    def __init__(self, *, first: float = FIRST, longest: float = LONGEST) -> None:
        self._first, self._longest = first, longest
        self._tries = 0

    def next(self) -> float:
        """Seconds to wait now: between half and all of the doubled limit."""
        limit = min(self._longest, self._first * float(2 ** min(self._tries, 30)))
        self._tries += 1
        share: float = random.uniform(0.5, 1.0)  # noqa: S311  spreads load, guards no secret
        return limit * share
