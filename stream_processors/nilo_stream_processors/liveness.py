"""When does a worker count as stuck: something is left to do, and nothing of it gets done.

Pure: what is to be seen of the worker comes in, the verdict goes out (`watch` does the looking).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from nilo_schemas.errors import NiloError


class StuckError(NiloError):
    """A worker had work and got nothing done for `stuck_after` seconds."""


@dataclass(frozen=True)
class Standing:
    """How far a piece of work is: `mark` changes whenever it gets on; `left` counts what is to do.

    `left` None: something is to do, and nobody knows how much.
    """

    mark: Hashable
    left: int | None


@dataclass(frozen=True)
class Stuck:
    """A piece of work that did not get on for so many seconds."""

    name: str
    seconds: float
    left: int | None

    def __str__(self) -> str:
        behind = "" if self.left is None else f", {self.left} messages behind"
        return f"{self.name} (no progress for {self.seconds:.0f} s{behind})"


class Liveness:
    """Adds up, for each piece of work, the time in which it could have got on and did not."""

    def __init__(self, stuck_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stuck_after, self._clock = stuck_after, clock
        self._looked = clock()
        self._marks: dict[str, Hashable] = {}
        self._quiet: dict[str, float] = {}

    def look(self, seen: Mapping[str, Standing] | None) -> list[Stuck]:
        """What is stuck, the longest first, now that this was seen.

        Args:
            seen: all work that there is by name. What is not in it has no history the next time.
                None: the broker does not answer, so nobody can say whether there is work; the time
                does not count, and nothing is stuck.
        """
        now = self._clock()
        # Of a long time without a look only a part counts: this process itself did not run then.
        passed = min(now - self._looked, self._stuck_after / 2)
        self._looked = now
        if seen is None:
            return []
        self._quiet = {
            name: self._quiet_after(name, standing, passed)
            for name, standing in seen.items()
            if standing.left != 0
        }
        self._marks = {name: seen[name].mark for name in self._quiet}
        stuck = [
            Stuck(name, seconds, seen[name].left)
            for name, seconds in self._quiet.items()
            if seconds >= self._stuck_after
        ]
        return sorted(stuck, key=lambda one: (-one.seconds, one.name))

    def _quiet_after(self, name: str, standing: Standing, passed: float) -> float:
        if name not in self._quiet or self._marks[name] != standing.mark:
            return 0.0
        return self._quiet[name] + passed
