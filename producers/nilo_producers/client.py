"""The librdkafka client of a producer: nothing is lost, doubled or out of order in it."""

from __future__ import annotations

import logging
from typing import Any

import confluent_kafka

from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings

_QUEUE_KBYTES = 256 * 1024
_LINGER_MS = 20
_logger = logging.getLogger("nilo_producers.kafka")


def kafka_client(settings: Settings, delivery_timeout: float, queue_size: int) -> Any:
    """A client that gives an event so many seconds to arrive, and holds so many.

    Raises:
        SettingsError: no broker is known, or a client setting is refused.
    """
    config = kafka_config(
        settings,
        enable_idempotence=True,
        acks="all",
        compression_type="lz4",
        linger_ms=_LINGER_MS,
        delivery_timeout_ms=round(delivery_timeout * 1000),
        queue_buffering_max_messages=queue_size,
        queue_buffering_max_kbytes=_QUEUE_KBYTES,
        # Java's and Faust's partitioner: a key lies in the same partition whoever sends it.
        partitioner="murmur2_random",
    )
    return confluent_kafka.Producer(config, logger=_logger)
