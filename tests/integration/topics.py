"""What the tests do with topics."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient

from nilo_schemas.clients import kafka_config
from nilo_schemas.contracts import records
from nilo_schemas.dead_letters import dead_letter_topic
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from nilo_schemas.topics import create_missing, create_topics, topic_specs


def make_topics(settings: Settings, *names: str) -> None:
    """Create topics and register their contracts.

    Args:
        settings: whose.
        names: topics without prefix; their dead letters come with them. None: all that there are,
            which takes the servers a second.
    """
    if not names:
        list(create_topics(settings))
        list(Registry(settings).register_all())
        return
    prefix, registry = settings.topic_prefix, Registry(settings)
    wanted = {prefix + name for name in names}
    specs = {spec.name: spec for spec in topic_specs(settings)}
    assert wanted <= specs.keys()
    letters = specs.keys() & {dead_letter_topic(name, prefix) for name in wanted}
    create_missing(settings, [specs[name] for name in sorted(wanted | letters)])
    for topic in names:
        if topic in records():
            registry.register(records()[topic])


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
