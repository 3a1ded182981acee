"""What goes wrong, where and when: incidents of known place, kind and size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tests.bench.stream import MINUTE, micros

START = micros(datetime(2026, 1, 5, tzinfo=UTC))  # a Monday
WINDOW = 5 * MINUTE
A_DAY = 288  # windows
# An incident lasts so many windows; a drift takes so many before that to come to its full size.
LASTS, RAMP = 12, 24
# At least so many windows lie between two incidents of a series.
BETWEEN = 48
# Of five incidents of a kind three have the size that the goal is about.
GOAL_SIZE = 3.0
_SIZES = (GOAL_SIZE, GOAL_SIZE, 2.0, GOAL_SIZE, 5.0)
CALLS, LABELS = "events.llm", "events.judgement"
_OF_CALLS = ("bench.calls", "bench.duration", "bench.cost")
_Times = TypeVar("_Times", int, np.ndarray[Any, np.dtype[np.int64]])
Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


class Nature(NamedTuple):
    """What a kind of incident is called, which rule is to find it, and what it bears on."""

    name: str
    rule: str
    metrics: tuple[str, ...]
    topic: str = CALLS


class Kind(Enum):
    """The kinds of incidents."""

    LATENCY = Nature("latency step", "CallsSlow", ("bench.duration",))
    DRIFT = Nature("slow drift of the latency", "CallsSlow", ("bench.duration",))
    ERRORS = Nature("error burst", "CallsFail", ("bench.calls",))
    COST = Nature("cost leak", "CallsExpensive", ("bench.cost",))
    SILENCE = Nature("silence", "CallsSilent", _OF_CALLS)
    MIX = Nature("label mix shift", "LabelsShifted", ("bench.labels",), LABELS)


@dataclass(frozen=True)
class Sizes:
    """How much of everything; `calls` and `labels` are events of a member in a window, as a mean.

    `models` and `nodes` are the members of the two topics; the first days teach what is usual.
    """

    models: int = 16
    nodes: int = 8
    days: int = 35
    warm_up: int = 7
    incidents: int = 1000
    calls: float = 200.0
    labels: float = 150.0
    seed: int = 1

    def members(self, topic: str) -> int:
        """How many models or nodes there are."""
        return self.models if topic == CALLS else self.nodes


QUICK = Sizes(models=6, nodes=3, days=10, incidents=48, calls=100, labels=100)


@dataclass(frozen=True)
class Incident:
    """What goes wrong in one member of a topic; times in microseconds since 1970.

    `size` is in noises, `full` when it is reached; of a silence it is 0. `label` is the one whose
    share grows.
    """

    number: int
    kind: Kind
    member: int
    size: float
    begin: int
    full: int
    end: int
    label: int

    @property
    def first(self) -> int:
        """The number of the first window that it fills, at its full size."""
        return window_of(self.full - 1) + 1

    @property
    def windows(self) -> range:
        """The numbers of the windows that it bears on, the first and last perhaps in part."""
        return range(window_of(self.begin), window_of(self.end - 1) + 1)


def window_of(time: _Times) -> _Times:
    """The number of the window that a time lies in, or of those of several times."""
    return (time - START) // WINDOW


def schedule(sizes: Sizes, labels: int) -> list[Incident]:
    """Incidents of all kinds alike, each in a stretch of its own of a member's time.

    Args:
        labels: how many there are to choose from.
    """
    rng = np.random.default_rng([sizes.seed, 1])
    found: list[Incident] = []
    for topic in (CALLS, LABELS):
        dealt = list(_dealt(sizes, topic, rng))
        members = sizes.members(topic)
        for member in range(members):
            mine = dealt[member::members]
            for place, (kind, size) in enumerate(mine):
                begin = _begin(sizes, place, len(mine), rng)
                full = begin + (RAMP * WINDOW if kind is Kind.DRIFT else 0)
                label = int(rng.integers(labels))
                end = full + LASTS * WINDOW
                found.append(Incident(len(found), kind, member, size, begin, full, end, label))
    return found


def _dealt(sizes: Sizes, topic: str, rng: np.random.Generator) -> Iterator[tuple[Kind, float]]:
    """Kinds and sizes in random order."""
    kinds = list(Kind)
    pairs = [
        (kinds[number % len(kinds)], number // len(kinds)) for number in range(sizes.incidents)
    ]
    mine = [
        (kind, 0.0 if kind is Kind.SILENCE else _SIZES[turn % len(_SIZES)])
        for kind, turn in pairs
        if kind.value.topic == topic
    ]
    return (mine[place] for place in rng.permutation(len(mine)))


def _begin(sizes: Sizes, place: int, many: int, rng: np.random.Generator) -> int:
    """A random moment in the stretch of this place, early enough to leave a gap behind it."""
    first = START + sizes.warm_up * A_DAY * WINDOW
    stretch = (sizes.days - sizes.warm_up) * A_DAY * WINDOW // many
    room = stretch - (RAMP + LASTS + BETWEEN) * WINDOW
    if room <= 0:
        raise ValueError(f"{many} incidents of a member have no room in {sizes.days} days")
    return first + place * stretch + int(rng.integers(room))
