"""The consumer group of a sink: its name, its configuration, and what is fatal to it."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError

from nilo_consumers.errors import BrokerRefusedError
from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings

_QUEUE_KB = 32 * 1024
# A killed sink's partitions are free after so long; a slow write does not count against it.
_SESSION_MS = 10_000
TERMINAL = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
}


def group_id(settings: Settings, sink: str) -> str:
    """The consumer group of a sink."""
    return f"{settings.topic_prefix}nilo-sink-{sink}"


def consumer_config(settings: Settings, sink: str) -> dict[str, Any]:
    """The consumer's configuration: the store says where to start, so nothing is automatic."""
    return kafka_config(
        settings,
        group_id=group_id(settings, sink),
        enable_auto_commit=False,
        enable_auto_offset_store=False,
        auto_offset_reset="earliest",
        queued_max_messages_kbytes=_QUEUE_KB,
        session_timeout_ms=_SESSION_MS,
        fetch_queue_backoff_ms=50,
    )


def refused(error: KafkaError) -> BrokerRefusedError:
    """What a Kafka error that trying again does not cure becomes."""
    return BrokerRefusedError(f"Kafka refuses this sink: {error.str()} ({error.name()})")
