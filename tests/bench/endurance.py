"""What takes longer than a fast run: recovery after SIGKILL, and memory over many events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings
from tests.bench import topic
from tests.bench.measure import MEGABYTE, Outcome, Run, Sample, wait_until
from tests.bench.servers import Say, groups
from tests.bench.stream import Stream
from tests.bench.worker import Worker, finals_of, until_final, working

JOB = "one"


@dataclass(frozen=True)
class Recovery:
    """A worker that was killed, and how long the next one took."""

    outcome: Outcome
    start_seconds: float
    seconds: float

    def figures(self) -> dict[str, float]:
        """For the report."""
        return {
            "recovery_s": round(self.seconds, 2),
            "recovery_process_start_s": round(self.start_seconds, 2),
            "recovery_rss_mb": self.outcome.run.rss // MEGABYTE,
        }


@dataclass(frozen=True)
class Growth:
    """Resident bytes of a worker on its way through a long stream."""

    outcome: Outcome
    early: int
    end: int

    @classmethod
    def of(cls, outcome: Outcome, samples: Sequence[Sample], stream: Stream) -> Growth:
        """By the samples of a run over a stream; a small one may be read before the second."""
        first, fifth = samples[0], stream.events / 5
        early = max(each.rss for each in samples if each is first or each.events <= fifth)
        late = max(each.rss for each in samples if each.events >= stream.events * 0.9)
        return cls(outcome, early, late)

    @property
    def ratio(self) -> float:
        """The most in the last tenth over the most in the first fifth."""
        return self.end / self.early

    def figures(self) -> dict[str, float]:
        """For the report."""
        return {
            "events_memory": self.outcome.run.events,
            "memory_per_core_s": round(self.outcome.run.per_core),
            "memory_first_fifth_mb": self.early // MEGABYTE,
            "memory_end_mb": self.end // MEGABYTE,
        }


def hold_and_kill(settings: Settings, stream: Stream, say: Say) -> None:
    """A worker takes the whole stream and commits it, and is killed with all windows open."""
    admin = AdminClient(kafka_config(settings))
    with working(settings, JOB) as worker:
        wait_until(lambda: _committed(admin, settings, worker) >= stream.events, "all commits")
        worker.measured.kill()
    say(f"recovery: a worker that held {stream.series:,} open series was killed")


def recover(settings: Settings, stream: Stream, say: Say) -> Recovery:
    """Start the next worker after `hold_and_kill`, and close the stream.

    Recovery runs from the first answer of the new process to the first event that it takes. The
    group has forgotten the killed worker by then: how long a session lasts is a setting.
    """
    admin = AdminClient(kafka_config(settings))
    wait_until(lambda: _empty(admin, settings), "the killed worker's session has ended")
    topic.close(settings, stream)
    began = time.perf_counter()
    with finals_of(settings, JOB, stream) as finals, working(settings, JOB) as worker:
        wait_until(lambda: worker.page("health") is not None, "the new worker answers")
        up = time.perf_counter()
        begin = worker.wait_for_events()
        seconds = begin.at - up
        say(f"recovery: {seconds:.1f} s, and {up - began:.1f} s to start the process")
        end = until_final(worker, finals, stream)
        outcome = Outcome(Run.between(begin, end), finals.windows, finals.differences())
    return Recovery(outcome, up - began, seconds)


def grow(settings: Settings, stream: Stream, say: Say) -> Growth:
    """A worker reads along while the stream is written, its memory sampled all the way."""
    with finals_of(settings, JOB, stream) as finals, working(settings, JOB) as worker:
        samples: list[Sample] = []
        for written in topic.fill(settings, stream):
            samples.append(worker.sample() if samples else worker.wait_for_events())
            if written * 5 % stream.events == 0:
                say(f"memory: {written:,} events written, {_state(samples[-1])}")
        topic.close(settings, stream)
        while samples[-1].events < stream.events:
            time.sleep(0.2)
            samples.append(worker.sample())
        end = until_final(worker, finals, stream)
        run = Run.between(samples[0], end)
        outcome = Outcome(run, finals.windows, finals.differences())
    say(f"memory: {_state(end)}")
    return Growth.of(outcome, [*samples, end], stream)


def _state(sample: Sample) -> str:
    return f"{sample.events:,} taken in, {sample.rss // MEGABYTE} MB"


def _committed(admin: AdminClient, settings: Settings, worker: Worker) -> int:
    """How many events of the stream the worker's group has committed."""
    worker.measured.check()
    name, total = settings.topic_prefix + topic.TOPIC, 0
    for group in groups(admin, settings.topic_prefix):
        asked = [ConsumerGroupTopicPartitions(group)]
        job: Any = admin.list_consumer_group_offsets(asked)[group]
        places = job.result().topic_partitions
        total += sum(max(each.offset, 0) for each in places if each.topic == name)
    return total


def _empty(admin: AdminClient, settings: Settings) -> bool:
    asked = groups(admin, settings.topic_prefix)
    told = admin.describe_consumer_groups(asked).values()
    return all(each.result().state is ConsumerGroupState.EMPTY for each in told)
