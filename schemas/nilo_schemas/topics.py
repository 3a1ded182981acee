"""The topics of Nilometer: names, retention, compaction; and how they are created."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from nilo_schemas.clients import kafka_config
from nilo_schemas.dead_letters import dead_letter_topic
from nilo_schemas.errors import ContractError, UnreachableError
from nilo_schemas.families import families
from nilo_schemas.results import PARTIALS_TOPIC, MetricWindow
from nilo_schemas.settings import Settings

ADMIN_TIMEOUT = 15.0
DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it is to be: `name` in full, configuration in Kafka's own words."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Every topic: one per family, the partials, the windows, and their dead letters.

    Dead letters keep one partition: they are few, and read in order of failure.
    """
    prefix, partitions = settings.topic_prefix, settings.partitions
    kept = [prefix + topic for topic in (*families(), MetricWindow.kafka_topic)]
    partials = prefix + PARTIALS_TOPIC
    return [
        *(TopicSpec(name, partitions, _kept(days=7)) for name in kept),
        TopicSpec(partials, partitions, _kept(days=1)),
        *(
            TopicSpec(dead_letter_topic(name, prefix), 1, _kept(days=30))
            for name in (*kept, partials)
        ),
    ]


def _kept(*, days: int) -> dict[str, str]:
    return {"retention.ms": str(days * DAY_MS)}


def create_topics(settings: Settings) -> Iterator[tuple[TopicSpec, bool]]:
    """Create what is missing; yield each topic and whether it is new.

    Raises:
        UnreachableError: the brokers do not answer.
        ContractError: a topic exists with another number of partitions, or is refused.
    """
    admin = AdminClient(kafka_config(settings))
    existing = existing_topics(admin)
    specs = topic_specs(settings)
    for spec in specs:
        if spec.name in existing and existing[spec.name] != spec.partitions:
            raise ContractError(
                f"topic {spec.name} has {existing[spec.name]} partitions, not {spec.partitions}; "
                f"set NILO_PARTITIONS={existing[spec.name]} or create it anew"
            )
    missing = [spec for spec in specs if spec.name not in existing]
    _create(admin, missing, settings.replication_factor)
    _wait_until_known(admin, specs)
    for spec in specs:
        yield spec, spec in missing


def existing_topics(admin: AdminClient) -> dict[str, int]:
    """The topics of the cluster and their numbers of partitions; raises UnreachableError."""
    try:
        metadata = admin.list_topics(timeout=ADMIN_TIMEOUT)
    except KafkaException as error:
        raise UnreachableError(
            f"no broker answers ({error.args[0].str()}); `nilo status` shows what runs"
        ) from error
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _wait_until_known(admin: AdminClient, specs: list[TopicSpec]) -> None:
    """Wait until the brokers' metadata has what they have just agreed to create."""
    deadline = time.monotonic() + ADMIN_TIMEOUT
    while any(spec.name not in (known := existing_topics(admin)) for spec in specs):
        if time.monotonic() > deadline:
            absent = [spec.name for spec in specs if spec.name not in known]
            raise UnreachableError(f"the brokers do not show {', '.join(absent)} yet; try again")
        time.sleep(0.1)


def _create(admin: AdminClient, specs: list[TopicSpec], replication: int) -> None:
    if not specs:
        return
    wanted = [
        NewTopic(spec.name, spec.partitions, replication, config=spec.config) for spec in specs
    ]
    for name, future in admin.create_topics(wanted, operation_timeout=ADMIN_TIMEOUT).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise ContractError(f"topic {name} is refused: {error.args[0].str()}") from error
