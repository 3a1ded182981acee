"""Consumer groups: their names, their configuration, and what is fatal to a member."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from nilo_consumers.decoding import TopicPart
from nilo_consumers.errors import BrokerRefusedError
from nilo_consumers.sink import Offsets
from nilo_schemas.clients import kafka_config
from nilo_schemas.errors import UnreachableError
from nilo_schemas.settings import Settings

_QUEUE_KB = 32 * 1024
# A killed sink's partitions are free after so long; a slow write does not count against it.
_SESSION_MS = 10_000
# All stand still in a rebalance until the last has heard of it, which is with its next heartbeat.
_HEARTBEAT_MS = 1_000
LIMIT = 10.0  # seconds
TERMINAL = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
}


def group_id(settings: Settings, sink: str) -> str:
    """The consumer group of a sink."""
    return f"{settings.topic_prefix}nilo-sink-{sink}"


def consumer_config(settings: Settings, group: str) -> dict[str, Any]:
    """The configuration of a group's consumer: we say where to start, so nothing is automatic."""
    return kafka_config(
        settings,
        group_id=group,
        enable_auto_commit=False,
        enable_auto_offset_store=False,
        auto_offset_reset="earliest",
        queued_max_messages_kbytes=_QUEUE_KB,
        session_timeout_ms=_SESSION_MS,
        heartbeat_interval_ms=_HEARTBEAT_MS,
        fetch_queue_backoff_ms=50,
    )


def committed(settings: Settings, sink: str, parts: Collection[TopicPart]) -> Offsets:
    """The group's offsets of these partitions, for a sink whose store cannot hold them.

    Raises:
        UnreachableError: the brokers do not answer.
    """
    wanted = [TopicPartition(*part) for part in parts]
    # It asks only, and never joins the group.
    consumer = Consumer(consumer_config(settings, group_id(settings, sink)))
    try:
        found = consumer.committed(wanted, timeout=LIMIT)
    except KafkaException as error:
        raise UnreachableError(f"no broker tells its offsets: {error.args[0].str()}") from error
    finally:
        consumer.close()
    return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0}


def refused(error: KafkaError) -> BrokerRefusedError:
    """What a Kafka error that trying again does not cure becomes."""
    return BrokerRefusedError(f"Kafka refuses this consumer: {error.str()} ({error.name()})")
