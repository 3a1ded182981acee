"""Client configurations made of Settings: Kafka for librdkafka, and the registry client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nilo_schemas.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

REGISTRY_TIMEOUT = 10.0


def kafka_config(settings: Settings, **more: Any) -> dict[str, Any]:
    """The librdkafka configuration that reaches the brokers, with `more` laid over it.

    Keys of `more` use underscores for dots: `kafka_config(s, group_id="g")`.

    Raises:
        SettingsError: no broker is known.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": settings.brokers(),
        "security.protocol": settings.kafka_security_protocol,
        "sasl.mechanism": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
        "sasl.password": _secret(settings.kafka_sasl_password),
        "ssl.ca.location": _text(settings.kafka_ssl_ca_location),
        "ssl.certificate.location": _text(settings.kafka_ssl_certificate_location),
        "ssl.key.location": _text(settings.kafka_ssl_key_location),
        "ssl.key.password": _secret(settings.kafka_ssl_key_password),
    }
    given = {key: value for key, value in config.items() if value is not None}
    return given | {key.replace("_", "."): value for key, value in more.items()}


def reader_config(settings: Settings, name: str, *, wait_ms: int) -> dict[str, Any]:
    """The configuration of a consumer in no group, which reads to the ends of what it is given.

    Args:
        name: librdkafka wants one of a group all the same.
        wait_ms: for so long the broker waits for more before it says that there is none.

    Raises:
        SettingsError: no broker is known.
    """
    return kafka_config(
        settings,
        group_id=f"{settings.topic_prefix}{name}",
        enable_auto_commit=False,
        enable_partition_eof=True,
        auto_offset_reset="earliest",
        fetch_wait_max_ms=wait_ms,
    ) | {"log_level": 0}


def registry_client(settings: Settings) -> SchemaRegistryClient:
    """A registry client for these settings; raises SettingsError when no registry is known."""
    # It takes half a second to import, which commands that need only Kafka should not pay.
    from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415

    config = {
        "url": settings.registry_url(),
        "basic.auth.user.info": _secret(settings.schema_registry_user_info),
        "ssl.ca.location": _text(settings.schema_registry_ca_location),
        "timeout": REGISTRY_TIMEOUT,
        "max.retries": 2,
    }
    return SchemaRegistryClient({key: value for key, value in config.items() if value is not None})


def _secret(value: Any) -> str | None:
    return None if value is None else value.get_secret_value()


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
