"""Ways to bring messages from Kafka into a Faust agent: `python -m tests.bench.transports`.

The same topic, read from its start to its end by a process of its own for each way; the ways take
turns, and the median of the rounds counts. Each takes the values out as a list of bytes and decodes
nothing:

- `batches`: ours, the records as aiokafka's C code makes them (nilo_stream_processors.fetch)
- `records`: aiokafka as Faust uses it, one ConsumerRecord per message, one chunk per fetch
- `confluent`: confluent-kafka's `consume` in a thread, chunks handed to an asyncio loop. Without
  Faust: what Faust asks of a transport (generations, its assignor, seeks, recovery) is not in it.
- `raw`: confluent-kafka's `consume` alone, not even the values taken out: the limit

`…, stock gc` is the same with Python's own thresholds of the garbage collector.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import faust
from confluent_kafka import Consumer, Message
from confluent_kafka import Producer as RawProducer
from faust.transport.drivers import aiokafka as stock
from yarl import URL

from nilo_producers import simulate
from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import encode
from nilo_schemas.collector import tune_gc
from nilo_schemas.settings import Settings, load_settings
from nilo_schemas.topics import create_topics
from nilo_stream_processors.fetch import Chunk
from nilo_stream_processors.transport import ChunkConsumer, Transport

ROUNDS = 3
FETCH = 10_000
TOPIC = "events.llm"
WAYS = ("batches", "batches, stock gc", "records", "records, stock gc", "confluent", "raw")
LIBRARIES = ("aiokafka", "confluent-kafka", "cramjam", "faust-streaming", "mode-streaming")


def main() -> None:
    """Measure, and print figures and ratios; with --way, read the topic once and print seconds."""
    parser = argparse.ArgumentParser(description="measure ways to read Kafka into Faust")
    parser.add_argument("--events", type=int, default=1_000_000, help="default: 1000000")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        read(options.way, load_settings(), options.events)
        return
    with tempfile.TemporaryDirectory() as home:
        report = _with_stack(Path(home), options.events)
    print(json.dumps(report) if options.json else as_text(report))


def _with_stack(home: Path, events: int) -> dict[str, Any]:
    """Measure on the servers of the environment, else on a stack of our own."""
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return measure(load_settings({"home": home}), events)
    from nilo_deploy import down, up  # noqa: PLC0415  not needed with an outside stack

    settings = load_settings({"home": home})
    up(settings)
    try:
        return measure(load_settings({"home": home}), events)
    finally:
        down(settings, delete=True)


def measure(settings: Settings, events: int) -> dict[str, Any]:
    """All ways over a topic of its own with `events` messages."""
    own = settings.model_copy(update={"topic_prefix": f"bench{uuid.uuid4().hex[:8]}."})
    list(create_topics(own))
    size = _fill(own, events)
    taken: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            taken[way].append(_in_process(way, own, events))
    rates = {way: events / _median(taken[way], "seconds") for way in WAYS}
    costs = {way: _median(taken[way], "cpu") / events * 1e6 for way in WAYS}
    return {
        "bench": "transports",
        "ratios": _ratios(costs),
        "figures": {
            "events": events,
            "bytes_per_event": size,
            **{f"{way}: events per second": round(rate) for way, rate in rates.items()},
            **{f"{way}: CPU s per million": round(cost, 2) for way, cost in costs.items()},
        },
        "versions": {"python": platform.python_version()} | {n: version(n) for n in LIBRARIES},
    }


def as_text(report: dict[str, Any]) -> str:
    """The report as lines for people."""
    lines = [f"{name:<48} {value:>12,}" for name, value in report["figures"].items()]
    lines += [
        f"{one['name']:<48} {one['value']:>12} (goal {one['goal']}, "
        f"{'holds' if one['holds'] else 'MISSED'})"
        for one in report["ratios"]
    ]
    lines.append(" ".join(f"{name} {number}" for name, number in report["versions"].items()))
    return "\n".join(lines)


def _ratios(costs: dict[str, float]) -> list[dict[str, Any]]:
    """Events per CPU second of the way we took, over each other: that it is no worse is the goal.

    `confluent` has no Faust in it, and `raw` takes no values out: to be near them is enough.
    """
    goals = {"batches, stock gc": 1.0, "records": 1.0, "confluent": 0.9, "raw": 0.8}
    values = {way: round(costs[way] / costs["batches"], 2) for way in goals}
    return [
        {
            "name": f"batches over {way}, per CPU second",
            "value": values[way],
            "goal": goal,
            "holds": values[way] >= goal,
        }
        for way, goal in goals.items()
    ]


def _median(taken: list[dict[str, float]], name: str) -> float:
    return statistics.median(one[name] for one in taken)


def _fill(settings: Settings, events: int) -> int:
    """Fill the topic with simulated calls of models; the bytes of a value on average."""
    fleet = simulate(1, 2_000, 100.0, datetime(2026, 1, 1, tzinfo=UTC))
    values = [encode(event, 1) for event in islice(fleet, 100_000)]
    config = kafka_config(settings, compression_type="lz4", linger_ms=50)
    producer = RawProducer(config | {"queue.buffering.max.messages": 500_000})
    for number, value in enumerate(islice(cycle(values), events)):
        if number % 100_000 == 0:
            producer.flush()
        producer.produce(settings.topic_prefix + TOPIC, value, str(number % 100).encode())
    producer.flush()
    return round(sum(map(len, values)) / len(values))


def _in_process(way: str, settings: Settings, events: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.transports", "--way", way, "--events", str(events)],
        env=os.environ | settings.environment(),
        capture_output=True,
        check=True,
        timeout=600,
    )
    taken: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return taken


def read(way: str, settings: Settings, events: int) -> None:
    """Read the topic once; prints the seconds from the first chunk on and ends the process."""
    if not way.endswith("stock gc"):
        tune_gc()
    meter = Meter(events)
    if way == "raw":
        _read_raw(settings, meter)
    elif way == "confluent":
        asyncio.run(_read_confluent(settings, meter))
    else:
        consumer = ChunkConsumer if way.startswith("batches") else RecordConsumer
        _read_faust(settings, meter, consumer)


class Meter:
    """Counts events, and ends the process when all are there."""

    def __init__(self, events: int) -> None:
        self._left = events
        self._begin: tuple[float, float] | None = None

    def add(self, count: int) -> None:
        """So many more."""
        now = time.perf_counter(), time.process_time()
        self._begin = self._begin or now
        self._left -= count
        if self._left <= 0:
            seconds, cpu = (end - begin for end, begin in zip(now, self._begin, strict=True))
            # Faust has left the cursor behind a word of its own.
            print("\n" + json.dumps({"seconds": seconds, "cpu": cpu}), flush=True)
            os._exit(0)


def _consumer(settings: Settings) -> Consumer:
    config = {
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        # Else it sleeps a second whenever it is ahead of us by 100,000 messages.
        "fetch.queue.backoff.ms": 5,
    }
    consumer = Consumer(kafka_config(settings, group_id=uuid.uuid4().hex) | config)
    consumer.subscribe([settings.topic_prefix + TOPIC])
    return consumer


def _read_raw(settings: Settings, meter: Meter) -> None:
    consumer = _consumer(settings)
    while True:
        if messages := consumer.consume(FETCH, 0.5):
            meter.add(len(messages))


async def _read_confluent(settings: Settings, meter: Meter) -> None:
    loop, room = asyncio.get_running_loop(), threading.Semaphore(4)
    chunks: asyncio.Queue[list[bytes | None]] = asyncio.Queue()

    def consume() -> None:
        consumer = _consumer(settings)
        while True:
            by_partition: dict[int | None, list[Message]] = {}
            for message in consumer.consume(FETCH, 0.5):
                by_partition.setdefault(message.partition(), []).append(message)
            for messages in by_partition.values():
                room.acquire()
                values = [message.value() for message in messages]
                loop.call_soon_threadsafe(chunks.put_nowait, values)

    threading.Thread(target=consume, daemon=True).start()
    while True:
        meter.add(len(await chunks.get()))
        room.release()


class RecordConsumer(ChunkConsumer):
    """One ConsumerRecord per message, and what a fetch brought of a partition as one chunk."""

    def _new_consumer_thread(self) -> Any:
        return stock.AIOKafkaConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: set[Any] | None, timeout: float) -> Any:
        await self._go_to_start(active_partitions or set())
        fetched = await stock.Consumer._getmany(self, active_partitions, timeout)
        return {
            tp: [Chunk(records, 0, records[0].offset)] for tp, records in fetched.items() if records
        }


def _transport(consumer: type[ChunkConsumer]) -> type[Transport]:
    class Own(Transport):
        Consumer = consumer

    return Own


class Everything:
    """A keeper of no state."""

    def __init__(self, topic: str) -> None:
        self.chunked = frozenset([topic])

    async def write_state(self) -> bool:
        """There is none."""
        return True

    def delivered(self) -> int:
        """Nothing."""
        return 0

    def start_offset(self, tp: Any) -> None:
        """At the committed offset, which is none: at the start."""


def reader(settings: Settings, topic: str, consumer: type[ChunkConsumer] = ChunkConsumer) -> Any:
    """A Faust app over our transport that keeps no state; the caller adds the agent."""
    address = [URL(f"nilo://{settings.brokers()}")]
    app: Any = faust.App(
        uuid.uuid4().hex,
        broker=address,
        broker_max_poll_records=FETCH,
        store="memory://",
        topic_disable_leader=True,
        stream_recovery_delay=0.0,
        web_enabled=False,
        datadir=tempfile.mkdtemp(),
    )
    app.transport = _transport(consumer)(address, app)
    app.keeper = Everything(topic)
    return app


def run_app(app: Any) -> None:
    """Run it as a worker; never returns."""
    worker = faust.Worker(app, loglevel="WARN", quiet=True, redirect_stdouts=False)
    worker.execute_from_commandline()


def _read_faust(settings: Settings, meter: Meter, consumer: type[ChunkConsumer]) -> None:
    topic = settings.topic_prefix + TOPIC
    app = reader(settings, topic, consumer)

    async def take(stream: Any) -> None:
        chunks: AsyncIterator[Chunk] = stream
        async for chunk in chunks:
            meter.add(len(chunk.values()))

    app.agent(app.topic(topic, key_serializer="raw", value_serializer="raw"))(take)
    run_app(app)


if __name__ == "__main__":
    main()
