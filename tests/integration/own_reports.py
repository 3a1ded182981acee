"""Reads what our programs say about themselves."""

from __future__ import annotations

from nilo_schemas.codec import decode
from nilo_schemas.families import SystemEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.integration.windows import read_topic


def own_reports(settings: Settings) -> list[SystemEvent]:
    """What is on `events.system` now, by partition and offset."""
    schema = Registry(settings).schema
    found = read_topic(settings, SystemEvent.kafka_topic)
    return [decode(message.value(), SystemEvent, schema) for message in found]
