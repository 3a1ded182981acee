"""`stock_faust.py` under measurement, and whether its table holds what it must."""

from __future__ import annotations

import json
import os
import sys
import uuid
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings
from tests.bench.measure import Measured, Outcome, Run, started, wait_until
from tests.bench.stream import SECOND, Stream
from tests.bench.topic import TOPIC, expected

# By start (seconds) and model.
Windows = dict[tuple[float, str], dict[str, Any]]


def work_off(settings: Settings, stream: Stream) -> Outcome:
    """A new stock app takes the whole topic: from its first events until all are in its table."""
    name = f"{settings.topic_prefix}stock-{uuid.uuid4().hex[:8]}"
    environment = os.environ | {
        "BENCH_APP": name,
        "BENCH_BROKER": f"kafka://{settings.brokers()}",
        "BENCH_TOPIC": settings.topic_prefix + TOPIC,
        "BENCH_PARTITIONS": str(settings.partitions),
        "FAUST_DATADIR": str(settings.home / "stock"),
    }
    command = [sys.executable, "-m", "tests.bench.stock_faust", "worker", "--without-web"]
    changelog = f"{name}-stats-changelog"
    with started(command, environment, settings.home / "stock.log") as measured:
        table = _Table(settings, changelog, measured)
        wait_until(lambda: table.updates() > 0, "the first event in stock Faust")
        begin = measured.sample(table.updates())
        wait_until(lambda: table.updates() >= stream.events, "all events in stock Faust")
        run = Run.between(begin, measured.sample(stream.events))
        found, wanted = table.windows(), _wanted(stream)
    return Outcome(run, len(wanted), sum(found.get(key) != wanted[key] for key in wanted))


class _Table:
    """The table as its changelog tells: one message per event."""

    def __init__(self, settings: Settings, changelog: str, measured: Measured) -> None:
        # the app makes the topic while we ask for it already
        config = kafka_config(settings, group_id=changelog) | {"log_level": 0}
        self._consumer, self._measured = Consumer(config), measured
        self._places = [TopicPartition(changelog, n, 0) for n in range(settings.partitions)]

    def updates(self) -> int:
        """How many events have gone into the table."""
        self._measured.check()
        try:
            return sum(self._consumer.get_watermark_offsets(each)[1] for each in self._places)
        except KafkaException:
            return 0

    def windows(self) -> Windows:
        """The newest value of each window."""
        left, found = self.updates(), {}
        self._consumer.assign(self._places)
        while left > 0:
            messages = self._consumer.consume(10_000, 0.1)
            left -= len(messages)
            for message in messages:
                model, (start, _) = json.loads(message.key() or b"")
                value = json.loads(message.value() or b"")
                found[start, model] = {name: value[name] for name in value if name != "__faust"}
        self._consumer.close()
        return found


def _wanted(stream: Stream) -> Windows:
    """The whole table; it holds three values, each of which `expected` knows."""
    fields = {"latency_sum": "duration", "tokens": "output_tokens", "cost": "cost"}
    sums = {name: expected(stream, field) for name, field in fields.items()}
    return {
        (key[0] / SECOND, key[1]): {
            "count": count,
            "errors": errors,
            "latency_min": low,
            "latency_max": high,
            **{name: cells[key][2] for name, cells in sums.items()},
        }
        for key, (count, errors, _, low, high) in sums["latency_sum"].items()
    }
