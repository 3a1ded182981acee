"""The transport on the real broker: what it reads, how much it holds, and how it stops."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import OFFSET_END, ConsumerGroupState, ConsumerGroupTopicPartitions
from confluent_kafka import Consumer as RawConsumer
from confluent_kafka import TopicPartition as RawPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import encode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from nilo_stream_processors.fetch import CHUNK_BYTES, fetch
from nilo_stream_processors.handed_out import IN_HAND_BYTES
from tests.integration.filling import EVENTS, TOPIC, committed, fill, group_of, raw_producer
from tests.integration.programs import free_port, running, wait_for
from tests.integration.test_processors import call, calls
from tests.integration.windows import newest_windows

pytestmark = [pytest.mark.integration, pytest.mark.topics("events.llm")]


def new_topic(settings: Settings, **config: str) -> str:
    """A topic of one partition."""
    name = f"{settings.topic_prefix}{uuid.uuid4().hex}"
    kept = {key.replace("_", "."): value for key, value in config.items()}
    topic = NewTopic(name, 1, settings.replication_factor, config=kept)
    admin = AdminClient(kafka_config(settings))
    admin.create_topics([topic])[name].result(30)
    return name


async def read_both_ways(
    settings: Settings, topic: str, isolation: str, start: int, end: int
) -> tuple[list[Any], list[Any]]:
    """Partition 0 as aiokafka gives it record by record, and as chunks."""
    tp = TopicPartition(topic, 0)
    seen: list[list[Any]] = []
    for chunked in (False, True):
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.brokers(), isolation_level=isolation, check_crcs=True
        )
        await consumer.start()
        consumer.assign([tp])
        consumer.seek(tp, start)
        found: list[Any] = []
        while await consumer.position(tp) < end:
            if chunked:
                taken = await fetch(
                    consumer._fetcher, {tp}, {topic: CHUNK_BYTES}, timeout=1, max_records=1
                )
                records = [record for chunk in taken.get(tp, ()) for record in chunk.records]
            else:
                records = (await consumer.getmany(tp, timeout_ms=1000)).get(tp, [])
            found += [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in records]
        await consumer.stop()
        seen.append(found)
    return seen[0], seen[1]


@pytest.mark.parametrize("isolation", ["read_committed", "read_uncommitted"])
@pytest.mark.parametrize("start", [0, 7])
def test_chunks_bring_what_aiokafka_brings_also_around_transactions(
    settings: Settings, isolation: str, start: int
) -> None:
    """Plain, committed and aborted messages, each followed by its control batch, a null value."""
    topic = new_topic(settings)
    transactional = raw_producer(settings, transactional_id=uuid.uuid4().hex)
    transactional.init_transactions()
    plain = raw_producer(settings)
    for round_ in range(3):
        for finish in (transactional.commit_transaction, transactional.abort_transaction):
            transactional.begin_transaction()
            for number in range(20):
                name = f"{finish.__name__} {round_} {number}"
                transactional.produce(topic, name, key=b"k", headers={"h": name}, partition=0)
            transactional.flush(30)
            plain.produce(topic, None, key=f"null {round_}", partition=0)
            plain.flush(30)
            finish(30)
    reader = RawConsumer(kafka_config(settings, group_id="nobody"))
    _, end = reader.get_watermark_offsets(RawPartition(topic, 0), 10)

    one_by_one, chunks = asyncio.run(read_both_ways(settings, topic, isolation, start, end))

    assert chunks == one_by_one
    aborted = sum(b"abort" in (value or b"") for *_, value, _ in chunks)
    assert aborted == (0 if isolation == "read_committed" else 60)
    assert chunks[0][0] == start
    assert end == 6 * (20 + 1 + 1)


def test_a_message_larger_than_the_cap_comes_through(settings: Settings) -> None:
    size = 2 * CHUNK_BYTES
    topic = new_topic(settings, max_message_bytes=str(2 * size))
    producer = raw_producer(settings, message_max_bytes=2 * size)
    for value in (b"before", os.urandom(size), b"after"):
        producer.produce(topic, value, partition=0)
    assert producer.flush(60) == 0

    one_by_one, chunks = asyncio.run(read_both_ways(settings, topic, "read_committed", 0, 3))

    assert chunks == one_by_one
    assert [len(value) for _, _, _, value, _ in chunks] == [6, size, 5]


@contextmanager
def slow_agent(settings: Settings, log: Path) -> Iterator[tuple[IO[bytes], Any]]:
    """The stdin of a slow agent's worker, and a function that gives what it said last."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.slow_agent", settings.topic_prefix + TOPIC],
            env=os.environ | settings.environment(),
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
        )

    def said() -> list[dict[str, int]]:
        return [json.loads(line) for line in log.read_text().splitlines() if line[:1] == "{"]

    assert process.stdin is not None
    try:
        yield process.stdin, said
    finally:
        process.kill()
        process.wait()


def test_a_slow_agent_holds_a_bounded_part_of_the_topic(settings: Settings, tmp_path: Path) -> None:
    """It would hold all of it, over 100 MB, if fetching did not stop; then it gets through."""
    bound = IN_HAND_BYTES + 2 * CHUNK_BYTES  # the last chunk, and what its last batch is too large
    fill(settings)
    with slow_agent(settings, tmp_path / "agent.log") as (stdin, said):
        wait_for("full hands", lambda: said() and said()[-1]["in_hand"] >= IN_HAND_BYTES)
        full = len(said())
        wait_for("some time with full hands", lambda: len(said()) >= full + 20)
        blocked = said()
        stdin.write(b"10000\n")
        stdin.flush()
        wait_for("all events", lambda: said()[-1]["events"] >= EVENTS)
        freed = said()

    assert blocked[-1]["chunks"] == 0
    assert max(line["in_hand"] for line in freed) <= bound
    assert max(line["memory"] for line in freed) - blocked[0]["memory"] < 100_000_000
    assert (freed[-1]["events"], freed[-1]["gaps"]) == (EVENTS, 0)
    assert freed[-1]["largest"] <= 2 * CHUNK_BYTES


def consumed(port: str) -> int:
    """How many calls a worker has taken in."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return 0
    line = re.search(rf'^nilo_consumed_events_total{{.*topic="{TOPIC}"}} (\S+)', text, re.M)
    return int(float(line[1])) if line else 0


def counted(settings: Settings) -> int:
    found = newest_windows(settings).items()
    return sum(w.count for (name, text, *_), w in found if (name, text) == ("llm.calls", "10s"))


@pytest.mark.topics
def test_a_worker_that_is_stopped_under_load_commits_all_that_it_has_done(
    settings: Settings, tmp_path: Path
) -> None:
    """It leaves the group; the next worker takes in exactly the rest, and tells of its recovery."""
    fill(settings)
    port, log = free_port(), tmp_path / "process.log"
    with running(settings, "process", "--metrics-port", port, log=log) as worker:
        wait_for("the first chunk", lambda: consumed(port))
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    admin = AdminClient(kafka_config(settings))
    group = admin.describe_consumer_groups([group_of(settings)])[group_of(settings)].result(30)
    done = committed(settings)

    assert group.state is ConsumerGroupState.EMPTY
    assert 0 < done < EVENTS
    log.write_text("")
    with running(settings, "process", "--metrics-port", port, log=log):
        wait_for("the rest", lambda: consumed(port) + done >= EVENTS)
        wait_for("the commit", lambda: committed(settings) == EVENTS)
        assert consumed(port) + done == EVENTS
        wait_for("the windows", lambda: counted(settings) == EVENTS)
    lines = r"recovery: (\S+) offsets of state|done, (\S+) offsets in"
    begun, read = re.findall(lines, log.read_text())
    assert begun[0] == read[1] != "0"


@pytest.mark.topics
def test_what_the_state_holds_is_committed_though_nothing_new_comes(
    settings: Settings, tmp_path: Path
) -> None:
    """As behind a worker that was killed between the two: its offsets are set back."""
    fill(settings)
    with running(settings, "process", "--metrics-port", free_port(), log=tmp_path / "first.log"):
        wait_for("the windows", lambda: counted(settings) == EVENTS)
        wait_for("the commit", lambda: committed(settings) == EVENTS)
    set_back(settings, 10)
    assert committed(settings) == 10 * settings.partitions

    port = free_port()
    with running(settings, "process", "--metrics-port", port, log=tmp_path / "second.log"):
        wait_for("the commit", lambda: committed(settings) == EVENTS)
        assert consumed(port) == 0


def set_back(settings: Settings, offset: int) -> None:
    """The group of the workers, who are gone, has committed this offset of each partition."""
    topic, group = settings.topic_prefix + TOPIC, group_of(settings)
    places = [RawPartition(topic, number, offset) for number in range(settings.partitions)]
    asked = [ConsumerGroupTopicPartitions(group, places)]
    admin = AdminClient(kafka_config(settings))  # what it was asked is forgotten with it
    for done in admin.alter_consumer_group_offsets(asked).values():
        done.result(30)


@pytest.mark.topics
def test_a_partition_whose_end_brings_no_event_holds_up_nobody(
    settings: Settings, tmp_path: Path
) -> None:
    """Two end with the mark of a transaction; one has lost all that it had to retention."""
    topic, schema_id = settings.topic_prefix + TOPIC, Registry(settings).schema_id(LlmEvent)
    value = encode(call(1), schema_id)
    producer = raw_producer(settings, transactional_id=uuid.uuid4().hex)
    producer.init_transactions()
    producer.begin_transaction()
    for partition in (0, 1, 2):
        producer.produce(topic, value, partition=partition)
    producer.commit_transaction(30)
    admin, deleted = AdminClient(kafka_config(settings)), RawPartition(topic, 2, OFFSET_END)
    admin.delete_records([deleted])[deleted].result(30)

    with running(settings, "process", "--metrics-port", free_port(), log=tmp_path / "process.log"):
        wait_for("the final window", lambda: calls(settings) == {0.0: 2})
