"""Questions to the brokers: do they answer, which topics are there, how far are the readers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not so marked
    AdminClient,
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]  # as above
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]  # as above
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]  # as above
)

from nilo_schemas.clients import kafka_config
from nilo_schemas.errors import ContractError, UnreachableError
from nilo_schemas.settings import Settings
from nilo_schemas.topics import topic_specs

LIMIT = 10.0  # seconds in which the brokers must answer
_STEP = 1.0
_FIRST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # no annotations there
_LAST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # no annotations there
Place = tuple[str, int]


def connect(settings: Settings, limit: float = LIMIT) -> tuple[AdminClient, dict[str, int]]:
    """A client of brokers that answer, and their topics with the numbers of partitions.

    Raises:
        UnreachableError: no broker answers within `limit` seconds, or all refuse.
    """
    reasons: list[KafkaError] = []
    # Without log_level librdkafka writes about every refused connection to standard error.
    admin = AdminClient(kafka_config(settings) | {"log_level": 0, "error_cb": reasons.append})
    deadline = time.monotonic() + limit
    while True:
        try:
            metadata = admin.list_topics(timeout=_STEP)
        except KafkaException as error:
            admin.poll(0)
            refused = any(reason.name() == "_ALL_BROKERS_DOWN" for reason in reasons)
            if refused or time.monotonic() > deadline:
                raise _unreachable(settings, reasons, error) from error
        else:
            return admin, {name: len(each.partitions) for name, each in metadata.topics.items()}


def _unreachable(
    settings: Settings, reasons: list[KafkaError], error: KafkaException
) -> UnreachableError:
    told = [each.str() for each in reasons if each.name() != "_ALL_BROKERS_DOWN"]
    reason = told[-1] if told else error.args[0].str()
    return UnreachableError(
        f"no broker answers at {settings.brokers()} ({reason}); `nilo status` shows what runs"
    )


def require_topics(settings: Settings) -> None:
    """Raise ContractError when topics are missing, UnreachableError when no broker answers."""
    _, existing = connect(settings)
    missing = [spec.name for spec in topic_specs(settings) if spec.name not in existing]
    if missing:
        raise ContractError(
            f"{len(missing)} topics are missing, such as {missing[0]}: run `nilo topics create`"
        )


def our_topics(settings: Settings, existing: Mapping[str, int]) -> dict[str, int]:
    """Those of the existing topics that are ours, with their numbers of partitions."""
    names = {spec.name for spec in topic_specs(settings)}
    return {name: count for name, count in sorted(existing.items()) if name in names}


def watermarks(admin: AdminClient, topics: Mapping[str, int]) -> dict[Place, tuple[int, int]]:
    """First and next offset of every partition of these topics; raises KafkaException."""
    places = [TopicPartition(name, part) for name, count in topics.items() for part in range(count)]
    first, last = _offsets(admin, places, _FIRST), _offsets(admin, places, _LAST)
    return {place: (first[place], last[place]) for place in first}


def _offsets(
    admin: AdminClient, places: list[TopicPartition], spec: OffsetSpec
) -> dict[Place, int]:
    if not places:
        return {}
    asked = admin.list_offsets(dict.fromkeys(places, spec), request_timeout=LIMIT)
    return {(place.topic, place.partition): job.result().offset for place, job in asked.items()}


def topic_configs(admin: AdminClient, topics: Iterable[str]) -> dict[str, dict[str, str]]:
    """The configuration of each topic in Kafka's own words; raises KafkaException."""
    asked = admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, name) for name in topics], request_timeout=LIMIT
    )
    return {
        resource.name: {name: entry.value for name, entry in job.result().items()}
        for resource, job in asked.items()
    }


def group_lags(admin: AdminClient, settings: Settings) -> dict[str, int]:
    """How many messages each of our consumer groups has before it; raises KafkaException."""
    prefix = f"{settings.topic_prefix}nilo-"
    listed = admin.list_consumer_groups(request_timeout=LIMIT).result().valid
    groups = sorted(each.group_id for each in listed if each.group_id.startswith(prefix))
    return {group: _lag(admin, group) for group in groups}


def _lag(admin: AdminClient, group: str) -> int:
    wanted = [ConsumerGroupTopicPartitions(group)]
    job: Any = admin.list_consumer_group_offsets(wanted, request_timeout=LIMIT)[group]
    committed = {
        (each.topic, each.partition): each.offset for each in job.result().topic_partitions
    }
    places = [TopicPartition(topic, partition) for topic, partition in committed]
    ends = _offsets(admin, places, _LAST)
    return sum(max(0, ends[place] - max(0, offset)) for place, offset in committed.items())
