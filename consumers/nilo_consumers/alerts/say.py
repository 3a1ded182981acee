"""What people say of alerts, on its way into Kafka: silences, acknowledgements, and their end."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from nilo_schemas.alerts import Alert, Silence
from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import encode
from nilo_schemas.errors import UnreachableError
from nilo_schemas.record import Record
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

LIMIT = 15.0  # seconds


def silence(settings: Settings, said: Silence) -> None:
    """Have a silence be in force; raises UnreachableError or ContractError."""
    _send(settings, Silence.kafka_topic, said.id, said)


def unsilence(settings: Settings, identity: str) -> None:
    """Take back a silence or an acknowledgement; raises UnreachableError."""
    _send(settings, Silence.kafka_topic, identity, None)


def acknowledge(settings: Settings, alert: Alert, said: Silence) -> Alert:
    """Take an alert on: say so, and tell those who consume alerts.

    Args:
        alert: its newest transition.
        said: the acknowledgement, with the alert's fingerprint and the start of its episode.

    Returns:
        What was published to `alerts`: the alert with who has it, and an id of its own.

    Raises:
        UnreachableError: the brokers or the registry do not answer.
        ContractError: the contracts are not registered.
    """
    comment = f": {said.comment}" if said.comment else ""
    told = alert.model_copy(
        update={
            "id": f"{alert.id}-{said.id}",
            "previous": alert.state,
            "acknowledged_by": said.created_by,
            "reason": f"acknowledged by {said.created_by}{comment}",
        }
    )
    silence(settings, said)
    _send(settings, Alert.kafka_topic, alert.fingerprint, told)
    return told


def _send(settings: Settings, topic: str, key: str, record: Record | None) -> None:
    value = None
    if record is not None:
        value = encode(record, Registry(settings).schema_id(type(record)))
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer(_config(settings))
    producer.produce(settings.topic_prefix + topic, value, key, on_delivery=delivered)
    left = producer.flush(LIMIT + 1)
    if left or failed:
        why = failed[0].str() if failed else "no answer"
        raise UnreachableError(f"{topic} did not take it ({why}); `nilo status` shows what runs")


def _config(settings: Settings) -> dict[str, Any]:
    return kafka_config(
        settings,
        enable_idempotence=True,
        delivery_timeout_ms=int(LIMIT * 1000),
        # As all others do: a key whose messages lie in two partitions is never compacted to one.
        partitioner="murmur2_random",
    ) | {"log_level": 0}
