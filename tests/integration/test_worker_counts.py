"""One worker and several make the same windows of the same events.

One and two; NILO_TEST_WORKERS=1,2,4 asks for more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from prometheus_client.parser import text_string_to_metric_families

from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.clients import kafka_config
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from nilo_schemas.topics import create_topics
from tests.chaos.compare import differences
from tests.chaos.expected import Window, WindowKey
from tests.chaos.load import GRACE, Load, Sender, make_events
from tests.chaos.observed import Observed
from tests.chaos.reading import Values
from tests.chaos.round import TOPIC, read_back
from tests.integration.programs import free_port, running, wait_for
from tests.integration.sinking import get

pytestmark = pytest.mark.integration
COUNTS = [int(text) for text in os.environ.get("NILO_TEST_WORKERS", "1,2").split(",")]
LOAD = Load(rate=250, seconds=30, seed="worker counts")
# How often and how far on the world was when a window was told: not what it holds.
NOT_CONTENT = {"watermark", "revision"}


def on_its_own(settings: Settings, workers: int) -> Settings:
    """Topics, contracts and a consumer group for so many workers."""
    prefix = f"{settings.topic_prefix}{workers}."
    mine = settings.model_copy(update={"topic_prefix": prefix, "grace": GRACE})
    list(create_topics(mine))
    list(Registry(mine).register_all())
    return mine


def play(settings: Settings) -> None:
    """The same events into the same partitions, each time."""
    sender = Sender(settings)
    for sent in make_events(LOAD, settings):
        sender.send(sent.partition, sent.event)
    sender.finish()


def sharing(settings: Settings) -> int:
    """How many workers have a partition of the events."""
    group = f"{settings.topic_prefix}nilo-processors"
    admin = AdminClient(kafka_config(settings))
    try:
        told = admin.describe_consumer_groups([group])[group].result(10)
    except KafkaException:
        return 0  # there is no such group yet
    owned = [[part.topic for part in one.assignment.topic_partitions] for one in told.members]
    return sum(settings.topic_prefix + TOPIC in topics for topics in owned)


def consumed(address: str) -> float:
    """How many of our events a worker has read."""
    families = text_string_to_metric_families(get(f"{address}/metrics")[1])
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "nilo_consumed_events_total" and sample.labels["topic"].endswith(TOPIC)
    )


def worked_off(settings: Settings, workers: int, log: Path) -> dict[WindowKey, Values]:
    """The newest final windows, once they are what they must be; each worker has had a part."""
    catalogue, observed = load_catalogue(settings.catalogue), Observed(settings)
    first = free_port(row=workers)
    addresses = [f"http://127.0.0.1:{int(first) + number}" for number in range(workers)]
    words = ("process", "--workers", str(workers), "--metrics-port", first)
    with running(settings, *words, log=log):
        wait_for("all workers", lambda: sharing(settings) == workers)
        play(settings)
        expected: dict[WindowKey, Window] = read_back(settings, catalogue).windows

        def right() -> bool:
            observed.read_on()
            return not differences(expected, observed.newest_final(), catalogue)

        wait_for("the windows", right)
        shares = [consumed(address) for address in addresses]
    observed.read_on()
    observed.close()
    assert all(shares)
    assert not observed.conflicts
    return observed.newest_final()


def contents(windows: dict[WindowKey, Values]) -> Iterator[tuple[WindowKey, Values]]:
    for key, window in windows.items():
        yield key, {name: value for name, value in window.items() if name not in NOT_CONTENT}


def test_any_number_of_workers_makes_equal_windows(settings: Settings, tmp_path: Path) -> None:
    first, *others = (
        dict(contents(worked_off(on_its_own(settings, number), number, tmp_path / f"{number}.log")))
        for number in COUNTS
    )

    assert len(first) > 500
    assert others == [first] * (len(COUNTS) - 1)
