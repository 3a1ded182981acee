"""When a worker that failed is started again, and when that is given up: no process, no clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """When a worker is started again and when that is given up; all but `tries` in seconds."""

    first: float = 1.0  # the wait after the first failure; each further one doubles it
    longest: float = 30.0
    calm: float = 60.0  # a worker that ran for so long begins with the first wait again
    tries: int = 5  # so many starts of a worker that was never ready, and we give up
    ask: float = 1.0  # between two questions to `/health`, until the worker is ready
    stop: float = 30.0  # a worker that takes longer to stop is killed


USUAL = Limits()


@dataclass(frozen=True)
class History:
    """What the starts of one worker came to.

    Only a worker that was never ready is given up: once it was, its settings are right, and what
    fails later (a broker that is away for a minute) comes back. Readiness is the measure and not
    a time, as a busy machine takes long to come to a wrong setting.
    """

    starts: int = 0
    failures: int = 0  # in a row, since a calm run
    ready: bool = False

    def after(self, ran: float, *, ready: bool, limits: Limits = USUAL) -> History:
        """The history with one more failure: after `ran` seconds, in which it was ready or not."""
        return History(
            starts=self.starts + 1,
            failures=1 if ran >= limits.calm else self.failures + 1,
            ready=self.ready or ready,
        )

    def hopeless(self, limits: Limits = USUAL) -> bool:
        """Whether one more start would fail as well, as far as anybody can tell."""
        return not self.ready and self.starts >= limits.tries

    def wait(self, share: float, limits: Limits = USUAL) -> float:
        """Seconds until the next start; `share` is the jitter: the part of the full wait."""
        doubled = limits.first * float(2 ** min(self.failures - 1, 30))
        return min(limits.longest, doubled) * share
