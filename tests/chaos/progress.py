"""How far the workers have committed: sampled while faults strike, to tell when they caught up."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from nilo_schemas.settings import Settings
from tests.chaos.reading import quiet_config

EVERY = 0.5  # seconds
TIMEOUT = 2.0


class Sample(NamedTuple):
    """Next offset to be read and next to be written, by partition; `when` is time.monotonic."""

    when: float
    committed: dict[int, int]
    ends: dict[int, int]


def caught_up(samples: Sequence[Sample], strike: float) -> float | None:
    """Seconds from a strike until all that was written by then had been committed.

    None when that was not seen.
    """
    before = [sample for sample in samples if sample.when <= strike]
    if not before:
        return None
    wanted = before[-1].ends
    for sample in samples[len(before) :]:
        if all(sample.committed[number] >= end for number, end in wanted.items()):
            return sample.when - strike
    return None


class Progress(threading.Thread):
    """Samples a topic and the processors' group until `stop`; silent while no broker answers."""

    def __init__(self, settings: Settings, topic: str) -> None:
        super().__init__(name="progress", daemon=True)
        self._topic, self._stopped = settings.topic_prefix + topic, threading.Event()
        self._places = [TopicPartition(self._topic, n) for n in range(settings.partitions)]
        # A member of no group: it only asks how far the processors' group is.
        group = f"{settings.topic_prefix}nilo-processors"
        more = {"enable_auto_commit": False}
        self._asks = Consumer(quiet_config(settings, group_id=group, **more))
        self._ends = Consumer(quiet_config(settings, group_id=uuid.uuid4().hex, **more))
        self.samples: list[Sample] = []

    def run(self) -> None:
        """Sample, every so often."""
        while not self._stopped.wait(EVERY):
            try:
                self.samples.append(self.look())
            except KafkaException:
                continue
        self._asks.close()
        self._ends.close()

    def look(self) -> Sample:
        """How it is now; raises KafkaException."""
        ends = {
            place.partition: self._ends.get_watermark_offsets(place, TIMEOUT)[1]
            for place in self._places
        }
        committed = self._asks.committed(self._places, TIMEOUT)
        at = {place.partition: max(place.offset, 0) for place in committed}
        return Sample(time.monotonic(), at, ends)

    def stop(self) -> None:
        """End, and wait for it."""
        self._stopped.set()
        self.join()
