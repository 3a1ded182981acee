"""Topics on the real broker: made once, and those of an earlier version set right."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not so marked
    AdminClient,
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]  # as above
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]  # as above
)
from confluent_kafka.cimpl import NewTopic

from nilo_schemas.clients import kafka_config
from nilo_schemas.errors import ContractError
from nilo_schemas.results import PARTIALS_TOPIC, STATE_TOPICS
from nilo_schemas.settings import Settings
from nilo_schemas.topics import create_topics, existing_topics, topic_specs
from tests.integration.programs import wait_for

pytestmark = pytest.mark.integration
# As it was while partials were Avro with keys, and with something that an operator has set.
EARLIER = {
    "cleanup.policy": "compact,delete",
    "retention.ms": "604800000",
    "max.message.bytes": "2000000",
}
OPERATORS = {"retention.ms": "1000000"}
RIGHT = {"cleanup.policy": "delete", "retention.ms": "86400000"}
# As Faust makes it.
EARLIER_STATE = {"cleanup.policy": "compact"}
RIGHT_STATE = {"segment.bytes": "4194304"}


@pytest.fixture
def earlier(settings: Settings) -> Settings:
    """A cluster with partials and state of an earlier version, and an operator's own retention."""
    mine = settings.model_copy(update={"topic_prefix": f"{settings.topic_prefix}old."})
    prefix, admin = mine.topic_prefix, AdminClient(kafka_config(mine))
    made = admin.create_topics(
        [
            NewTopic(prefix + name, mine.partitions, mine.replication_factor, config=config)
            for name, config in (
                (PARTIALS_TOPIC, EARLIER),
                (STATE_TOPICS[0], EARLIER_STATE),
                ("events.llm", OPERATORS),
            )
        ]
    )
    for job in made.values():
        job.result()
    # The controller has them now; the broker shows them a moment later.
    wait_for("the topics", lambda: made.keys() <= existing_topics(admin).keys())
    return mine


def config(settings: Settings, topic: str) -> dict[str, str]:
    name = settings.topic_prefix + topic
    admin = AdminClient(kafka_config(settings))
    asked: Any = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)])
    (job,) = asked.values()
    return {key: entry.value for key, entry in job.result().items()}


def send_without_key(settings: Settings) -> None:
    producer = Producer(kafka_config(settings, message_timeout_ms=10_000))
    failed: list[Any] = []
    topic = settings.topic_prefix + PARTIALS_TOPIC
    producer.produce(topic, b"frame", on_delivery=lambda error, _: failed.append(error))
    producer.flush(20)
    if failed[0] is not None:
        raise KafkaException(failed[0])


def test_topics_are_made_once_and_then_left_alone(settings: Settings) -> None:
    fresh = settings.model_copy(update={"topic_prefix": f"{settings.topic_prefix}new."})

    first, second = list(create_topics(fresh)), list(create_topics(fresh))

    assert [made.spec for made in first] == topic_specs(fresh)
    assert [(made.created, made.changed) for made in first] == [(True, {})] * len(first)
    assert [(made.created, made.changed) for made in second] == [(False, {})] * len(first)
    assert config(fresh, PARTIALS_TOPIC).items() >= RIGHT.items()
    for topic in STATE_TOPICS:
        assert config(fresh, topic).items() >= (EARLIER_STATE | RIGHT_STATE).items()


def test_compacted_partials_of_an_earlier_version_take_messages_without_keys(
    earlier: Settings,
) -> None:
    with pytest.raises(KafkaException, match="INVALID_RECORD"):
        send_without_key(earlier)

    changed = {made.spec.name: made.changed for made in create_topics(earlier) if made.changed}

    prefix = earlier.topic_prefix
    assert changed == {prefix + PARTIALS_TOPIC: RIGHT, prefix + STATE_TOPICS[0]: RIGHT_STATE}
    assert config(earlier, PARTIALS_TOPIC).items() >= RIGHT.items()
    send_without_key(earlier)


def test_what_operators_have_set_is_left_alone(earlier: Settings) -> None:
    list(create_topics(earlier))

    assert config(earlier, PARTIALS_TOPIC)["max.message.bytes"] == EARLIER["max.message.bytes"]
    assert config(earlier, "events.llm").items() >= OPERATORS.items()
    assert [made for made in create_topics(earlier) if made.changed] == []


def test_another_number_of_partitions_is_refused(settings: Settings) -> None:
    other = settings.model_copy(update={"partitions": settings.partitions + 1})

    with pytest.raises(ContractError, match=f"set NILO_PARTITIONS={settings.partitions}"):
        list(create_topics(other))
