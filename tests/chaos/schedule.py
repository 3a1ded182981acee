"""Which fault strikes when: drawn from a seed, so that a round can be repeated."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from nilo_stream_processors.transport import SESSION_SECONDS

Kind = Literal["kill", "stop", "broker", "join", "leave"]
Deed = Literal["start", "kill", "stop", "continue", "leave", "broker down", "broker up"]
KINDS: dict[Kind, float] = {"kill": 10, "stop": 4, "broker": 1.5, "join": 1.5, "leave": 1.5}
UP = 4.0  # seconds that a process needs to be more than an interpreter that loads modules
GAP = 6.0  # seconds between two faults, on average
HARD = 0.5  # of the broker's stops are SIGKILL


@dataclass(frozen=True, order=True)
class Action:
    """What is done `at` so many seconds after the round began; `worker` is its number."""

    at: float
    deed: Deed
    worker: int = 0
    hard: bool = False

    def __str__(self) -> str:
        whom = "" if self.deed.startswith("broker") else f" worker {self.worker}"
        return f"{self.at:.1f} s {self.deed}{whom}{' (SIGKILL)' if self.hard else ''}"


@dataclass(frozen=True)
class Plan:
    """The actions of a round in order, and how many faults of each kind they make."""

    actions: tuple[Action, ...]
    faults: Counter[Kind] = field(default_factory=Counter)


@dataclass
class _Group:
    """Who is there: workers at work, and those that will be at some time: stopped or starting."""

    working: list[int]
    away: dict[int, float] = field(default_factory=dict)
    last: int = 0
    broker_up_at: float = 0.0

    def wake(self, now: float) -> None:
        for worker in [worker for worker, until in self.away.items() if until <= now]:
            del self.away[worker]
            self.working.append(worker)

    def start(self, at: float) -> Action:
        self.last += 1
        self.away[self.last] = at + UP
        return Action(at, "start", self.last)


def draw_plan(seed: str, *, workers: int, seconds: float) -> Plan:
    """The faults of a round.

    Args:
        workers: how many run at first, numbered from 1; about so many are kept.
        seconds: the last fault strikes before.
    """
    rng, group = random.Random(seed), _Group([])
    actions = [group.start(0.0) for _ in range(workers)]
    faults: Counter[Kind] = Counter()
    now = UP
    while (now := now + rng.expovariate(1 / GAP)) < seconds:
        group.wake(now)
        possible: list[Kind] = [kind for kind in KINDS if _possible(kind, now, group, workers)]
        if possible:
            kind = rng.choices(possible, [KINDS[kind] for kind in possible])[0]
            actions += _strike(kind, now, rng, group)
            faults[kind] += 1
    return Plan(tuple(sorted(actions)), faults)


def _possible(kind: Kind, now: float, group: _Group, workers: int) -> bool:
    if kind == "broker":
        return group.broker_up_at <= now
    if kind == "join":
        return len(group.working) + len(group.away) <= workers
    return len(group.working) >= (2 if kind == "leave" else 1)


def _strike(kind: Kind, now: float, rng: random.Random, group: _Group) -> Iterator[Action]:
    if kind == "broker":
        yield Action(now, "broker down", hard=rng.random() < HARD)
        group.broker_up_at = now + rng.uniform(0, 4)
        yield Action(group.broker_up_at, "broker up")
        return
    if kind == "join":
        yield group.start(now)
        return
    worker = rng.choice(group.working)
    group.working.remove(worker)
    if kind == "leave":
        yield Action(now, "leave", worker)
    elif kind == "stop":
        # Some shorter than the group waits for a silent member, most longer.
        until = now + rng.uniform(0.3, 1.6) * SESSION_SECONDS
        group.away[worker] = until
        yield Action(now, "stop", worker)
        yield Action(until, "continue", worker)
    else:
        yield Action(now, "kill", worker)
        yield group.start(now + rng.uniform(0, 3))


def short_plan(*, broker: bool = True) -> Plan:
    """One fault of each kind within 45 s, for CI, on two workers.

    Worker 2 is stopped in mid-work and goes on when its partitions are another's; then that other
    is killed, so that what both wrote has to be recovered.
    """
    back = 12 + SESSION_SECONDS + 3
    actions = [
        Action(0, "start", 1),
        Action(0, "start", 2),
        Action(12, "stop", 2),
        Action(back, "continue", 2),
        Action(back + 4, "kill", 1),
        Action(back + 5, "start", 3),
        Action(back + 6, "start", 4),
        Action(back + 14, "leave", 3),
    ]
    kinds: list[Kind] = ["kill", "stop", "join", "leave"]
    if broker:
        actions += [Action(back + 18, "broker down", hard=True), Action(back + 19, "broker up")]
        kinds.append("broker")
    return Plan(tuple(sorted(actions)), Counter(kinds))
