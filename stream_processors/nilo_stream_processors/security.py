"""TLS of the clients that aiokafka makes."""

from __future__ import annotations

import ssl

from nilo_schemas.settings import Settings


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """The certificates that the settings name; the system's where they name none."""
    context = ssl.create_default_context(cafile=settings.kafka_ssl_ca_location)
    if settings.kafka_ssl_certificate_location:
        password = settings.kafka_ssl_key_password
        context.load_cert_chain(
            settings.kafka_ssl_certificate_location,
            settings.kafka_ssl_key_location,
            password.get_secret_value() if password else None,
        )
    return context
