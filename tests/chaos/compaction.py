"""Compaction of the state while it is written and recovered, far more often than by itself."""

from __future__ import annotations

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not so marked
    AdminClient,
    AlterConfigOpType,  # pyright: ignore[reportPrivateImportUsage]  # as above
    ConfigEntry,  # pyright: ignore[reportPrivateImportUsage]  # as above
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]  # as above
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]  # as above
)

from nilo_schemas.results import STATE_TOPICS
from nilo_schemas.settings import Settings
from tests.chaos.reading import TopicReader, quiet_config

# Whatever is a second old may be compacted, also when that is worth little.
OFTEN = {"segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01"}


def compact_often(settings: Settings) -> None:
    """Let the broker compact the state whenever its cleaner looks."""
    changes = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        for key, value in OFTEN.items()
    ]
    topics = [
        ConfigResource(
            ResourceType.TOPIC, settings.topic_prefix + topic, incremental_configs=changes
        )
        for topic in STATE_TOPICS
    ]
    admin = AdminClient(quiet_config(settings))
    for job in admin.incremental_alter_configs(topics).values():
        job.result()


def compacted(settings: Settings) -> int:
    """How many messages of state were there once and are not any more."""
    return sum(_gone(TopicReader(settings, topic)) for topic in STATE_TOPICS)


def _gone(reader: TopicReader) -> int:
    ends: dict[int | None, int] = {}
    count = 0
    for message in reader.news():
        offset = message.offset()
        assert offset is not None
        ends[message.partition()] = offset + 1
        count += 1
    reader.close()
    return sum(ends.values()) - count
