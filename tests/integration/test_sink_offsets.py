"""Offsets are the store's: a sink goes on where its store ends, whatever its group says."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from nilo_consumers import (
    StoreMovedError,
)
from nilo_consumers.batch import Holding
from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings
from tests.integration.programs import wait_for
from tests.integration.sinking import (
    COUNT,
    LLM,
    calls,
    each_store,
    query,
    sinking,
    wait_count,
)

pytestmark = pytest.mark.integration


def group_offset(settings: Settings, store: str, offset: int) -> None:
    part = TopicPartition(settings.topic_prefix + LLM, 0, offset)
    group = f"{settings.topic_prefix}nilo-sink-{store}"
    admin = AdminClient(kafka_config(settings))
    for future in admin.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group, [part])]
    ).values():
        future.result(30)


def committed(settings: Settings, store: str) -> int:
    group = f"{settings.topic_prefix}nilo-sink-{store}"
    consumer = Consumer(kafka_config(settings, group_id=group))
    [part] = consumer.committed([TopicPartition(settings.topic_prefix + LLM, 0)], timeout=10)
    consumer.close()
    return int(part.offset)


@each_store
def test_a_restart_resumes_from_the_store_whatever_the_group_says(
    settings: Settings, store: str
) -> None:
    calls(settings, 20, partition=0)
    with sinking(store, settings, topics=[LLM]):
        wait_count(store, settings, 20)
    assert committed(settings, store) == 20
    for group_says, rows in ((0, 30), (35, 40)):
        group_offset(settings, store, group_says)
        calls(settings, 10, partition=0)
        with sinking(store, settings, topics=[LLM]):
            wait_count(store, settings, rows)
    group = f"{settings.topic_prefix}nilo-sink-{store}"
    admin = AdminClient(kafka_config(settings))
    admin.delete_consumer_groups([group])[group].result(30)
    calls(settings, 10, partition=0)
    with sinking(store, settings, topics=[LLM]):
        wait_count(store, settings, 50)


@each_store
def test_what_is_held_is_written_at_a_stop(
    settings: Settings, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nothing is ever due, a stop still writes what is held."""
    monkeypatch.setattr(Holding, "due", lambda _self: False)
    calls(settings, 100)
    with sinking(store, settings, topics=[LLM]) as sink:
        wait_for("all read", lambda: sink.total("nilo_consumed_events_total") == 100)
        assert COUNT[store](settings, LLM) == 0

    assert COUNT[store](settings, LLM) == 100


def test_a_topic_made_anew_is_refused(settings: Settings) -> None:
    calls(settings, 3, partition=0)
    with sinking("postgres", settings, topics=[LLM]):
        wait_count("postgres", settings, 3)
    query(settings, "UPDATE sink_offsets SET next_offset = 99 WHERE partition = 0")

    with (
        pytest.raises(StoreMovedError, match="made anew"),
        sinking("postgres", settings, topics=[LLM]),
    ):
        pass
