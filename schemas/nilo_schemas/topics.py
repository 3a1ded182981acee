"""The topics of Nilometer: names, retention, compaction; and how they are created."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not so marked
    AdminClient,
    AlterConfigOpType,  # pyright: ignore[reportPrivateImportUsage]  # as above
    ConfigEntry,  # pyright: ignore[reportPrivateImportUsage]  # as above
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]  # as above
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]  # as above
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]  # as above
)
from confluent_kafka.cimpl import NewTopic

from nilo_schemas.alerts import STATE_TOPIC, Alert, Silence
from nilo_schemas.clients import kafka_config
from nilo_schemas.contracts import stored_records
from nilo_schemas.dead_letters import REDRIVES_TOPIC, dead_letter_topic
from nilo_schemas.errors import ContractError, UnreachableError
from nilo_schemas.notified import Notified
from nilo_schemas.results import PARTIALS_TOPIC, STATE_TOPICS, MetricWindow
from nilo_schemas.settings import Settings

ADMIN_TIMEOUT = 15.0
DAY_MS = 24 * 60 * 60 * 1000
# Kafka compacts no segment that is still written to, and makes them 1 GB large unless told: that
# much of each partition would be read in a recovery.
SEGMENT_BYTES = 4 * 2**20
COMPACTED = {"cleanup.policy": "compact", "segment.bytes": str(SEGMENT_BYTES)}


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it is to be: `name` in full, configuration in Kafka's own words."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


class Made(NamedTuple):
    """What was done about a topic: whether it is new, and what was set of an older one."""

    spec: TopicSpec
    created: bool
    changed: dict[str, str]


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Every topic: the families, partials, windows, alerts, their dead letters, and the state.

    Dead letters keep one partition: they are few, and read in order of failure.
    """
    prefix, partitions = settings.topic_prefix, settings.partitions
    kept = [prefix + topic for topic in stored_records()]
    partials = prefix + PARTIALS_TOPIC
    return [
        *(TopicSpec(name, partitions, _kept(days=7)) for name in kept),
        *_inner(settings),
        *(
            TopicSpec(dead_letter_topic(name, prefix), 1, _kept(days=30))
            for name in (*kept, partials)
        ),
    ]


def _inner(settings: Settings) -> list[TopicSpec]:
    """What nobody else decides about: its configuration is for us to say."""
    # Partials have no keys: a compacted topic would refuse them.
    partials = {"cleanup.policy": "delete"} | _kept(days=1)
    compacted = (*STATE_TOPICS, STATE_TOPIC, Silence.kafka_topic)
    # Who has its only partition is the one that notifies.
    notified = TopicSpec(settings.topic_prefix + Notified.kafka_topic, 1, COMPACTED)
    redrives = TopicSpec(settings.topic_prefix + REDRIVES_TOPIC, 1, COMPACTED)
    return [notified, redrives] + [
        TopicSpec(settings.topic_prefix + topic, settings.partitions, config)
        for topic, config in ((PARTIALS_TOPIC, partials), *((t, COMPACTED) for t in compacted))
    ]


def _kept(*, days: int) -> dict[str, str]:
    return {"retention.ms": str(days * DAY_MS)}


def create_topics(settings: Settings) -> Iterator[Made]:
    """Create what is missing, and set partials and state right; yield what was done about each.

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
    _wait(lambda: _leaderless(admin, missing))
    # How long the others keep what they hold is for those to say who run them.
    inner = _inner(settings)
    for spec in specs:
        older = spec in inner and spec not in missing
        yield Made(spec, spec in missing, _set_right(admin, spec) if older else {})


def create_result_topics(settings: Settings, namespace: str) -> None:
    """Create topics of windows and alerts of their own; raises as `create_topics` does.

    Args:
        settings: of the installation.
        namespace: in front of their names.
    """
    specs = [
        TopicSpec(namespace + record.kafka_topic, settings.partitions, _kept(days=7))
        for record in (MetricWindow, Alert)
    ]
    create_missing(settings, specs)


def create_missing(settings: Settings, specs: list[TopicSpec]) -> None:
    """Create those of these topics that do not exist; raises as `create_topics` does."""
    admin = AdminClient(kafka_config(settings))
    existing = existing_topics(admin)
    _create(
        admin, [each for each in specs if each.name not in existing], settings.replication_factor
    )
    _wait_until_known(admin, specs)
    _wait(lambda: _leaderless(admin, specs))


def existing_topics(admin: AdminClient, timeout: float = ADMIN_TIMEOUT) -> dict[str, int]:
    """The topics of the cluster and their numbers of partitions; raises UnreachableError."""
    try:
        metadata = admin.list_topics(timeout=timeout)
    except KafkaException as error:
        raise UnreachableError(
            f"no broker answers ({error.args[0].str()}); `nilo status` shows what runs"
        ) from error
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _wait_until_known(admin: AdminClient, specs: list[TopicSpec]) -> None:
    names = {spec.name for spec in specs}
    _wait(lambda: sorted(names - existing_topics(admin).keys()))


def _leaderless(admin: AdminClient, specs: list[TopicSpec]) -> list[str]:
    """The topics with a partition of which no broker knows yet that it leads it."""
    places = [TopicPartition(spec.name, n) for spec in specs for n in range(spec.partitions)]
    if not places:
        return []
    latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # untyped upstream
    asked = admin.list_offsets(dict.fromkeys(places, latest), request_timeout=ADMIN_TIMEOUT)
    return sorted({place.topic for place, job in asked.items() if job.exception()})


def _wait(absent: Callable[[], list[str]]) -> None:
    """Wait until the brokers show what they have just agreed to; raises UnreachableError."""
    deadline = time.monotonic() + ADMIN_TIMEOUT
    while left := absent():
        if time.monotonic() > deadline:
            raise UnreachableError(f"the brokers do not show {', '.join(left)} yet; try again")
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


def _set_right(admin: AdminClient, spec: TopicSpec) -> dict[str, str]:
    """Set what differs from the spec, and nothing else; returns what was set."""
    wrong = _differs(admin, spec)
    if wrong:
        changes = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in wrong.items()
        ]
        topic = ConfigResource(ResourceType.TOPIC, spec.name, incremental_configs=changes)
        _answer(admin.incremental_alter_configs([topic], request_timeout=ADMIN_TIMEOUT), spec)
        _wait(lambda: [f"{key} of {spec.name}" for key in _differs(admin, spec)])
    return wrong


def _differs(admin: AdminClient, spec: TopicSpec) -> dict[str, str]:
    """What the configuration of a topic must be and is not."""
    topic = ConfigResource(ResourceType.TOPIC, spec.name)
    found = _answer(admin.describe_configs([topic], request_timeout=ADMIN_TIMEOUT), spec)
    return {key: value for key, value in spec.config.items() if found[key].value != value}


def _answer(jobs: dict[Any, Any], spec: TopicSpec) -> Any:
    """What the brokers say to a question about the configuration of one topic."""
    (job,) = jobs.values()
    try:
        return job.result()
    except KafkaException as error:
        wanted = ", ".join(f"{key}={value}" for key, value in spec.config.items())
        raise ContractError(
            f"the configuration of topic {spec.name} is not ours to set "
            f"({error.args[0].str()}); it must be {wanted}"
        ) from error
