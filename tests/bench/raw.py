"""The limit: librdkafka's `consume(10000)` of a whole topic, nothing decoded.

As a program it prints what the topic took, in JSON; `work_off` runs that program under measurement.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid

import psutil
from confluent_kafka import Consumer, TopicPartition

from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings, load_settings
from tests.bench.measure import Outcome, Run, started
from tests.bench.topic import TOPIC

BATCH = 10_000


def work_off(settings: Settings) -> Outcome:
    """A new process consumes the whole topic."""
    command, environment = [sys.executable, "-m", __name__], os.environ | settings.environment()
    with started(command, environment, settings.home / "raw.log") as measured:
        told = json.loads(measured.finish())
    return Outcome(Run(told["events"], told["seconds"], told["cpu"], told["rss"]))


def main() -> None:
    """Consume everything; the clocks run from the assignment to the last batch."""
    settings = load_settings()
    consumer = Consumer(kafka_config(settings, group_id=uuid.uuid4().hex))
    topic = settings.topic_prefix + TOPIC
    places = [TopicPartition(topic, number, 0) for number in range(settings.partitions)]
    left = sum(consumer.get_watermark_offsets(place)[1] for place in places)
    begin, begin_cpu, events = time.perf_counter(), time.process_time(), 0
    consumer.assign(places)
    while events < left:
        events += len(consumer.consume(BATCH, 0.1))
    seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    rss = psutil.Process().memory_info().rss
    json.dump({"events": events, "seconds": seconds, "cpu": cpu, "rss": rss}, sys.stdout)


if __name__ == "__main__":
    main()
