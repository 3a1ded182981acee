"""How far the consumer groups of an installation are."""

from __future__ import annotations

from typing import Any, NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not so marked
    AdminClient,
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]  # as above
)

from nilo_schemas.settings import Settings

LIMIT = 10.0  # seconds in which the brokers must answer
FIRST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # no annotations there
LAST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # no annotations there
Place = tuple[str, int]


class Position(NamedTuple):
    """The offset that a group reads next in a partition, and the one after its last message."""

    next: int
    end: int

    @property
    def lag(self) -> int:
        """The messages between them."""
        return max(0, self.end - self.next)


def group_positions(admin: AdminClient, settings: Settings) -> dict[str, dict[Place, Position]]:
    """Where each of our consumer groups is, by what it has committed; raises KafkaException."""
    prefix = f"{settings.topic_prefix}nilo-"
    listed = admin.list_consumer_groups(request_timeout=LIMIT).result().valid
    groups = sorted(each.group_id for each in listed if each.group_id.startswith(prefix))
    return {group: _positions(admin, group) for group in groups}


def _positions(admin: AdminClient, group: str) -> dict[Place, Position]:
    wanted = [ConsumerGroupTopicPartitions(group)]
    job: Any = admin.list_consumer_group_offsets(wanted, request_timeout=LIMIT)[group]
    committed = {
        (each.topic, each.partition): each.offset for each in job.result().topic_partitions
    }
    ends = offsets(admin, [TopicPartition(*place) for place in committed], LAST)
    return {place: Position(max(0, next_), ends[place]) for place, next_ in committed.items()}


def offsets(admin: AdminClient, places: list[TopicPartition], spec: OffsetSpec) -> dict[Place, int]:
    """The offset that `spec` (FIRST, LAST) names in each partition; raises KafkaException."""
    if not places:
        return {}
    asked = admin.list_offsets(dict.fromkeys(places, spec), request_timeout=LIMIT)
    return {(place.topic, place.partition): job.result().offset for place, job in asked.items()}
