"""The life of one alert: what it becomes with each window that is looked at.

Pure and small: a verdict in, a change out or none. Times are microseconds, ends of windows.

    inactive ─ breach ─> pending ─ `for` is full ─> firing ─ quiet long enough ─> resolved
                            └ a miss ─> inactive       └ no windows ─> no_data ─ data ─> firing
                                                                         └ a day of it ─> resolved
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from enum import Enum, auto
from typing import Any, NamedTuple, Self

from nilo_schemas.alerts import AlertState

# An alert that fires so often within so many windows flaps: it then stays until its condition has
# been away for so many in a row.
FLAP_FIRINGS, FLAP_SPAN, FLAP_QUIET = 3, 30, 10
# An alert whose series has no windows is without data after so many of them, and is taken to be
# gone for good after so long.
ABSENT_WINDOWS = 3
VANISHED = 86_400_000_000


class Verdict(Enum):
    """What a window says of a condition; BETWEEN: neither it nor its `clear` holds."""

    BREACH = auto()
    BETWEEN = auto()
    CLEAR = auto()
    ABSENT = auto()


@dataclass(frozen=True)
class Timing:
    """How patient a rule is, in windows; `length` of one in microseconds."""

    needed: int
    kept: int
    length: int


class Change(NamedTuple):
    """A transition and why it came."""

    previous: AlertState
    state: AlertState
    reason: str


@dataclass
class Life:
    """Where an alert is.

    `run` counts the windows in a row with the last verdict that matters: breaches while pending,
    quiet or absent ones afterwards. `firings` are the times at which it began to fire lately.
    """

    state: AlertState = AlertState.INACTIVE
    starts_at: int = 0
    ends_at: int = 0
    revision: int = 0
    run: int = 0
    silent_since: int = 0
    flapping: bool = False
    firings: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The values as JSON has them."""
        return asdict(self) | {"state": str(self.state)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The life that `to_json` told of; fields of another version are passed over."""
        known = {each.name: values[each.name] for each in fields(cls) if each.name in values}
        known["state"] = AlertState(values["state"])
        return cls(**known)

    def observe(self, verdict: Verdict, start: int, end: int, timing: Timing) -> Change | None:
        """Take in what a window says; the window is `[start, end)`, also where it is absent."""
        before = self.state
        reason = self._next(verdict, start, end, timing)
        if self.state == before:
            return None
        self.revision += 1
        if self.state in _OVER:
            self.ends_at = end
        return Change(before, self.state, reason)

    def is_over(self, now: int, length: int) -> bool:
        """Whether nothing need be known of it any more."""
        return self.state in _OVER and now - self.ends_at > FLAP_SPAN * length

    def _next(self, verdict: Verdict, start: int, end: int, timing: Timing) -> str:
        match self.state:
            case AlertState.PENDING:
                return self._pending(verdict, end, timing)
            case AlertState.FIRING:
                return self._firing(verdict, start, end, timing)
            case AlertState.NO_DATA:
                return self._without_data(verdict, end)
            case _:
                return self._begin(start, end, timing) if verdict is Verdict.BREACH else ""

    def _begin(self, start: int, end: int, timing: Timing) -> str:
        self.starts_at, self.revision, self.run, self.ends_at = start, 0, 0, 0
        self.state = AlertState.PENDING
        return self._pending(Verdict.BREACH, end, timing)

    def _pending(self, verdict: Verdict, end: int, timing: Timing) -> str:
        if verdict is not Verdict.BREACH:
            self.state = AlertState.INACTIVE
            missed = "had no data" if verdict is Verdict.ABSENT else "did not meet it"
            return f"the window after {self.run} of {timing.needed} {missed}"
        self.run += 1
        if self.run < timing.needed:
            return f"{self.run} of {timing.needed} windows"
        return self._fire(end, timing)

    def _fire(self, end: int, timing: Timing) -> str:
        windows = self.run
        self.state, self.run = AlertState.FIRING, 0
        span = FLAP_SPAN * timing.length
        self.firings = [time for time in self.firings if end - time < span] + [end]
        self.flapping = len(self.firings) >= FLAP_FIRINGS
        text = "1 window" if windows == 1 else f"{windows} of {timing.needed} windows"
        return f"{text}; it flaps and is held" if self.flapping else text

    def _firing(self, verdict: Verdict, start: int, end: int, timing: Timing) -> str:
        if verdict is Verdict.ABSENT:
            return self._absent(start)
        self.silent_since = 0
        if verdict is not Verdict.CLEAR:
            self.run = 0
            return ""
        self.run += 1
        kept = max(timing.kept, FLAP_QUIET) if self.flapping else timing.kept
        if self.run < kept:
            return ""
        windows = "1 window" if kept == 1 else f"{kept} windows"
        return self._end(f"{windows} without it")

    def _absent(self, start: int) -> str:
        if not self.silent_since:
            self.silent_since, self.run = start, 0
        self.run += 1
        if self.run < ABSENT_WINDOWS:
            return ""
        self.state = AlertState.NO_DATA
        return f"no window for {self.run} windows"

    def _without_data(self, verdict: Verdict, end: int) -> str:
        if verdict is Verdict.ABSENT:
            gone = end - self.silent_since >= VANISHED
            return self._end("no window for a day: the series is gone") if gone else ""
        self.silent_since = self.run = 0
        if verdict is Verdict.CLEAR:
            return self._end("data is back, without it")
        self.state = AlertState.FIRING
        return "data is back, and it still holds"

    def _end(self, reason: str) -> str:
        self.state, self.flapping, self.run, self.silent_since = AlertState.RESOLVED, False, 0, 0
        return reason


_OVER = frozenset({AlertState.INACTIVE, AlertState.RESOLVED})
