"""Questions to the brokers: do they answer, which topics are there, how far are the readers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not so marked
    AdminClient,
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]  # as above
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]  # as above
)

from nilo_schemas.clients import kafka_config
from nilo_schemas.errors import ContractError, UnreachableError
from nilo_schemas.groups import FIRST, LAST, LIMIT, Place, group_positions, offsets
from nilo_schemas.settings import Settings
from nilo_schemas.topics import topic_specs

_STEP = 1.0


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
    first, last = offsets(admin, places, FIRST), offsets(admin, places, LAST)
    return {place: (first[place], last[place]) for place in first}


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
    positions = group_positions(admin, settings)
    return {group: sum(each.lag for each in held.values()) for group, held in positions.items()}
