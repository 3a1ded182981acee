"""The load of a chaos round: seeded calls of models, disordered, with silences, sent to Kafka.

Every event is made from (seed, number) alone, so a round can be repeated. Partitions are chosen
here and not by the key's hash: they get unequal shares, and one after the other falls silent for
longer than `idle_after`, so that idle partitions come and go while workers die.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from confluent_kafka import Producer

from nilo_schemas.codec import encode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.chaos.reading import quiet_config

START = datetime(2026, 1, 1, tzinfo=UTC)
GRACE = 60.0  # seconds of event time
SPEED = 3.0  # seconds of event time in one second of the round
SHARES = (0.4, 0.3, 0.2, 0.1)  # of the partitions, in turn
SILENCE = (12.0, 7.0)  # every so many seconds one partition is silent for so long; idle_after is 5
MODELS = [(f"provider-{n % 3}", f"model-{n}") for n in range(8)]
STATUSES = ("OK", "ERROR", "RETRIED", "FALLBACK")
LATE_SHARE, LOST_SHARE, TEMPLATES = 0.02, 0.0003, 2_000
DELIVERY_MS = 300_000


@dataclass(frozen=True)
class Load:
    """How many events per second, for how many seconds, from which seed."""

    rate: float
    seconds: float
    seed: str


@dataclass(frozen=True)
class Sent:
    """An event and the partition it goes to; `due` is in seconds after the round began."""

    due: float
    partition: int
    event: LlmEvent


def make_events(load: Load, settings: Settings) -> Iterator[Sent]:
    """The events of a round, in the order in which they are sent."""
    rng = random.Random(load.seed)
    templates = [_template(rng, number) for number in range(TEMPLATES)]
    for number in range(int(load.rate * load.seconds)):
        due = number / load.rate
        time = START + timedelta(seconds=due * SPEED - _behind(rng, due, settings))
        event = rng.choice(templates).model_copy(
            update={"id": f"{load.seed}/{number}", "time": time, "subject": f"s{number % 997}"}
        )
        yield Sent(due, _partition(rng, due, settings.partitions), event)


def _behind(rng: random.Random, due: float, settings: Settings) -> float:
    """How far an event's time lies behind the newest (seconds).

    Most by less than the allowed disorder, some by nearly the grace, and a few by so much that
    every window of up to a minute has closed for good: no event is late by one rule of
    lateness and in time by another.
    """
    chance, bound, grace = rng.random(), settings.out_of_orderness, settings.grace
    lost = grace + 60 + 2 * bound + SPEED * SILENCE[1] + 5
    if chance < LOST_SHARE and due > SILENCE[0]:
        return lost + rng.uniform(0, 30)
    if chance < LATE_SHARE:
        return min(rng.uniform(bound, 0.8 * grace), due * SPEED)
    return min(rng.uniform(0, 0.9 * bound), due * SPEED)


def _partition(rng: random.Random, due: float, partitions: int) -> int:
    every, lasts = SILENCE
    turn, into = divmod(due, every)
    silent = int(turn) % partitions if into < lasts else -1
    open_ones = [number for number in range(partitions) if number != silent] or [0]
    return rng.choices(open_ones, [SHARES[number % len(SHARES)] for number in open_ones])[0]


def _template(rng: random.Random, number: int) -> LlmEvent:
    provider, model = rng.choice(MODELS)
    known = rng.random() > 0.1
    return LlmEvent(
        type="llm.call" if rng.random() < 0.9 else "llm.stream",
        source=f"app-{number % 3}",
        provider=provider if known else None,
        model=model,
        status=rng.choices(STATUSES, [0.9, 0.05, 0.03, 0.02])[0],
        duration=timedelta(microseconds=_skewed(rng, 900_000)) if rng.random() < 0.95 else None,
        time_to_first_token=timedelta(microseconds=_skewed(rng, 90_000)) if known else None,
        input_tokens=_skewed(rng, 900),
        output_tokens=rng.choice([0, 1, _skewed(rng, 150)]),
        cost=Decimal(_skewed(rng, 2_000_000)).scaleb(-9),
        fallback_from=rng.choice(MODELS)[1] if known else None,
        sample_rate=rng.choice([1] * 30 + [7]),
    )


def _skewed(rng: random.Random, middle: int) -> int:
    return round(middle * rng.lognormvariate(0, 1.2))


class Sender:
    """Sends events to partitions of its callers' choice; outlasts restarts of the broker."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topic_prefix + LlmEvent.kafka_topic
        self._schema_id = Registry(settings).schema_id(LlmEvent)
        self._failures: list[str] = []
        self._producer = Producer(
            quiet_config(
                settings,
                enable_idempotence=True,
                compression_type="lz4",
                linger_ms=5,
                delivery_timeout_ms=DELIVERY_MS,
            )
        )
        self.sent = 0

    def send(self, partition: int, event: LlmEvent) -> None:
        """Queue an event; waits while the queue is full."""
        value, key = encode(event, self._schema_id), event.key.encode()
        while True:
            try:
                self._producer.produce(
                    self._topic, value, key, partition=partition, on_delivery=self._report
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                self.sent += 1
                self._producer.poll(0)
                return

    def finish(self) -> int:
        """Wait until Kafka has acknowledged all, and return their number.

        Raises:
            RuntimeError: an event did not arrive.
        """
        while self._producer.flush(1):
            pass
        if self._failures:
            raise RuntimeError(f"{len(self._failures)} events not sent: {self._failures[0]}")
        return self.sent

    def _report(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._failures.append(error.str())


class Feeder(threading.Thread):
    """Sends a load at its pace; `acknowledged_at` is when Kafka had all (seconds since 1970)."""

    def __init__(self, settings: Settings, load: Load) -> None:
        super().__init__(name="feeder", daemon=True)
        self._settings, self._load, self._sender = settings, load, Sender(settings)
        self._broken: BaseException | None = None
        self.acknowledged_at = 0.0

    def run(self) -> None:
        """Send all, and wait until Kafka has acknowledged all."""
        try:
            begin = time.monotonic()
            for sent in make_events(self._load, self._settings):
                ahead = begin + sent.due - time.monotonic()
                if ahead > 0.02:
                    time.sleep(ahead)
                self._sender.send(sent.partition, sent.event)
            self._sender.finish()
            self.acknowledged_at = time.time()
        except BaseException as error:
            self._broken = error

    def finish(self) -> int:
        """Wait for the end; return how many events Kafka has. Raises when some did not arrive."""
        self.join()
        if self._broken:
            raise self._broken
        return self._sender.sent
