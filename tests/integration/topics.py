"""What the tests do with topics."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient

from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings


def delete_topics(settings: Settings) -> None:
    """Delete every topic with the prefix; a broker has no memory for the partitions of all tests.

    Raises:
        KafkaException: no broker answers.
    """
    admin = AdminClient(kafka_config(settings) | {"log_level": 0})
    topics, prefix = admin.list_topics(timeout=10).topics, settings.topic_prefix
    names = [name for name in topics if name.startswith(prefix)]
    for deleted in admin.delete_topics(names).values() if names else ():
        deleted.result(30)
