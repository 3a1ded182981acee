"""Redriven messages come once, whatever is killed and whoever runs beside.

`Sender` on a simulated Kafka, where a run may die before each call, and another go on meanwhile.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from threading import Semaphore, Thread

from hypothesis import given, settings
from hypothesis import strategies as st

from nilo_consumers.batch import Span
from nilo_consumers.decoding import TopicPart
from nilo_consumers.dlq.history import Entry, History
from nilo_consumers.dlq.sender import LEASE, Sender
from nilo_consumers.dlq.target import Delivered, Parcel
from nilo_schemas.dead_letters import Origin
from nilo_schemas.errors import UnreachableError

ORIGINS = [Origin("events.llm", number % 2, number) for number in range(3)]
TOO_LARGE = Origin("events.llm", 0, 77)
OTHERS = 5  # messages in each partition that are none of ours
Before = Callable[[int], None]


class KilledError(BaseException):
    """As SIGKILL: nothing of the run goes on."""


@dataclass
class Kafka:
    """The topic of redrives, two partitions, and a clock."""

    redrives: list[Entry] = field(default_factory=list)
    parts: dict[TopicPart, list[Origin | None]] = field(
        default_factory=lambda: {("events.llm", n): [None] * OTHERS for n in (0, 1)}
    )
    now: float = 0.0

    def sent(self) -> Counter[Origin]:
        return Counter(one for part in self.parts.values() for one in part if one)


class Run:
    """A run's view of Kafka; `before` is called with the number of each call, before its effect."""

    def __init__(self, kafka: Kafka, before: Before) -> None:
        self.kafka, self._before, self._calls = kafka, before, 0
        self.sender = Sender(self, self, lambda: kafka.now, self.wait)

    def work(self, origins: Sequence[Origin]) -> None:
        self.sender.settle(lambda _: None)
        known = self.read().sent
        left = [each for each in origins if each not in known and each not in self.sender.lost]
        self.sender.send([Parcel(each, None, b"v", []) for each in left])

    def wait(self, seconds: float) -> None:
        until = self.kafka.now + seconds
        while self.kafka.now < until:
            self.kafka.now += LEASE / 4
            self._call()

    def _call(self) -> None:
        self._calls += 1
        self._before(self._calls)

    def read(self) -> History:
        self._call()
        history = History()
        for place, (key, value) in enumerate(self.kafka.redrives):
            history.take(place, key, value)
        return history

    def write(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._call()
            self.kafka.redrives.append(entry)

    def spans(self, parts: Iterable[TopicPart]) -> dict[TopicPart, Span]:
        self._call()
        return {part: Span(0, len(self.kafka.parts[part])) for part in parts}

    def send(self, parcels: Sequence[Parcel]) -> Delivered:
        told, began = Delivered({}, set(), []), self.kafka.now
        for parcel in parcels:
            self._call()
            if self.kafka.now > began + LEASE / 2:
                told.unknown.append("ran out of time")
            elif parcel.origin == TOO_LARGE:
                told.too_large.add(parcel.origin)
            else:
                part = self.kafka.parts[parcel.part]
                told.offsets[parcel.origin] = len(part)
                part.append(parcel.origin)
        return told

    def find(self, part: TopicPart, since: int) -> dict[Origin, int]:
        self._call()
        there = enumerate(self.kafka.parts[part])
        return {one: offset for offset, one in there if one and offset >= since}


def killed_at(number: int) -> Before:
    """Die before the call of this number."""

    def before(call: int) -> None:
        if call == number:
            raise KilledError

    return before


def attempt(kafka: Kafka, before: Before) -> None:
    """One run, which may die or give up."""
    with contextlib.suppress(KilledError, UnreachableError):
        Run(kafka, before).work([*ORIGINS, TOO_LARGE])


class Beside:
    """A run in a thread, which goes on by one call whenever it is told to."""

    def __init__(self, kafka: Kafka, dies: int) -> None:
        self._go, self._stands, self._dies = Semaphore(0), Semaphore(0), dies
        self._thread = Thread(target=self._work, args=(kafka,))
        self._thread.start()
        self._stands.acquire()

    def go_on(self) -> bool:
        """Up to the next call; whether there is one."""
        if self._thread.is_alive():
            self._go.release()
            self._stands.acquire()
        return self._thread.is_alive()

    def _before(self, call: int) -> None:
        self._stands.release()
        self._go.acquire()
        killed_at(self._dies)(call)

    def _work(self, kafka: Kafka) -> None:
        try:
            attempt(kafka, self._before)
        finally:
            self._stands.release()


calls = st.integers(0, 30)  # 0: none


@settings(max_examples=300)
@given(st.lists(calls, max_size=4))
def test_killed_at_any_moment_and_run_again_each_is_sent_once(moments: list[int]) -> None:
    kafka = Kafka()
    for moment in moments:
        attempt(kafka, killed_at(moment))
        assert max(kafka.sent().values(), default=1) == 1
    attempt(kafka, killed_at(0))
    assert kafka.sent() == Counter(ORIGINS)
    attempt(kafka, killed_at(0))
    assert kafka.sent() == Counter(ORIGINS)
    known = Run(kafka, killed_at(0)).read().sent
    assert known == {one: kafka.parts[one[:2]].index(one) for one in ORIGINS}


# So many calls of one run after another; then so much time passes.
turns = st.tuples(st.integers(1, 15), st.sampled_from([0.0, 0.0, LEASE / 4, LEASE]))


@settings(max_examples=300)
@given(st.integers(1, 12), st.tuples(calls, calls), st.lists(turns, max_size=8))
def test_runs_beside_each_other_send_nothing_twice(
    first: int, dies: tuple[int, int], order: list[tuple[int, float]]
) -> None:
    """After one that died, two go on by turns, however long one stands still."""
    kafka = Kafka()
    attempt(kafka, killed_at(first))
    runs = [Beside(kafka, number) for number in dies]
    for place, (steps, seconds) in enumerate(order):
        for _ in range(steps):
            runs[place % 2].go_on()
        kafka.now += seconds
    for run in runs:
        while run.go_on():
            kafka.now += LEASE / 8
    assert max(kafka.sent().values(), default=1) == 1
    attempt(kafka, killed_at(0))
    assert kafka.sent() == Counter(ORIGINS)
