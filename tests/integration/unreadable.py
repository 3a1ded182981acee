"""Messages that become dead letters: of a contract that nobody knows yet, and others."""

from __future__ import annotations

import base64
import io
import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema

from nilo_schemas.clients import kafka_config, registry_client
from nilo_schemas.contracts import contract
from nilo_schemas.dead_letters import dead_letter_topic
from nilo_schemas.families import LlmEvent
from nilo_schemas.framing import frame
from nilo_schemas.settings import Settings
from tests.integration.sinking import LLM, produce, send

GOOD, UNKNOWN = 12, 6
# With the headers of a letter it is larger than a topic takes, with those of a redrive it is not.
LARGE = {"large": base64.b64encode(random.Random(7).randbytes(786_000)).decode()}


def event(model: str, **more: Any) -> LlmEvent:
    return LlmEvent(type="llm.call", source="test", model=model, **more)


class Newer:
    """A contract with one field more, which the registry learns of later than our readers."""

    def __init__(self, settings: Settings) -> None:
        self._client = registry_client(settings)
        self._subject = f"{settings.topic_prefix}{LLM}-value"
        self._schema = json.loads(json.dumps(contract(LlmEvent)))
        self._schema["fields"].append({"name": "mood", "type": "string", "default": ""})
        # Ids are given one after another.
        other = Schema(json.dumps({"type": "record", "name": f"N{uuid.uuid4().hex}", "fields": []}))
        self.schema_id = self._client.register_schema(f"{self._subject}-other", other) + 1

    def value(self, one: LlmEvent) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self._schema, one.to_avro() | {"mood": "good"})
        return frame(self.schema_id, body.getvalue())

    def register(self) -> None:
        found = self._client.register_schema(self._subject, Schema(json.dumps(self._schema)))
        assert found == self.schema_id


def play(settings: Settings, newer: Newer) -> list[str]:
    """Good events, those of the newer contract, one that never decodes, a late and an early one.

    The ids of those of the newer contract.
    """
    ids, now = [], datetime.now(UTC)
    send(settings, [event("a") for _ in range(GOOD)], partition=0)
    send(settings, [event("poison")], partition=0)
    producer = Producer(kafka_config(settings, message_max_bytes=2_000_000))
    for number in range(UNKNOWN):
        one = event("poison" if number == 0 else "b", attributes=LARGE if number == 1 else {})
        ids.append(one.id)
        producer.produce(
            settings.topic_prefix + LLM, newer.value(one), b"k",
            partition=number % 2, headers=[("traceparent", b"00-ab")],
        )  # fmt: skip
    assert producer.flush(60) == 0
    produce(settings, LLM, [b"garbage"], partition=1)
    send(settings, [event("late", time=now - timedelta(hours=2))], partition=0)
    send(settings, [event("ahead", time=now + timedelta(days=1))], partition=2)
    produce(settings, dead_letter_topic(LLM), [b"none of ours"], partition=0)
    return ids
