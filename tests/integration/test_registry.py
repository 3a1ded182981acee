"""The contracts in a real registry."""

from __future__ import annotations

import json
import socket

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryError

from nilo_schemas.clients import registry_client
from nilo_schemas.contracts import contract, records
from nilo_schemas.errors import ContractError, DecodeError, Reason, UnreachableError
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import COMPATIBILITY, Registry
from nilo_schemas.settings import Settings

pytestmark = pytest.mark.integration


def test_registering_again_gives_the_same_ids(settings: Settings) -> None:
    first = dict(Registry(settings).register_all())
    assert dict(Registry(settings).register_all()) == first
    assert list(first) == [f"{settings.topic_prefix}{topic}-value" for topic in records()]


def test_what_was_registered_is_found_by_its_id(settings: Settings) -> None:
    registry = Registry(settings)
    schema_id = registry.schema_id(LlmEvent)
    assert registry.schema(schema_id) == contract(LlmEvent)
    assert registry.schema(schema_id) is registry.schema(schema_id)


def test_full_transitive_is_set_and_enforced(settings: Settings) -> None:
    client = registry_client(settings)
    subject = Registry(settings).subject(LlmEvent.kafka_topic)
    assert client.get_compatibility(subject) == COMPATIBILITY

    without_default = {"name": "fresh", "type": "string"}
    fields = contract(LlmEvent)["fields"]
    removed = [field for field in fields if field["name"] != "source"]
    for changed in ([*fields, without_default], removed):
        bad = Schema(json.dumps({**contract(LlmEvent), "fields": changed}), "AVRO")
        with pytest.raises(SchemaRegistryError) as caught:
            client.register_schema(subject, bad)
        assert caught.value.http_status_code == 409

    optional = {"name": "fresh", "type": ["null", "string"], "default": None}
    good = Schema(json.dumps({**contract(LlmEvent), "fields": [*fields, optional]}), "AVRO")
    assert client.register_schema(subject, good) != Registry(settings).schema_id(LlmEvent)


def test_an_unknown_id_is_a_fault_of_the_message(settings: Settings) -> None:
    with pytest.raises(DecodeError) as caught:
        Registry(settings).schema(2**31 - 1)
    assert caught.value.reason is Reason.UNKNOWN_SCHEMA


def test_a_contract_that_is_not_registered_says_what_to_do(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"topic_prefix": "never-registered."})
    with pytest.raises(ContractError, match="nilo schemas register"):
        Registry(elsewhere).schema_id(LlmEvent)


def test_a_registry_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as held:  # bound, not listening: nothing else can answer there
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        registry = Registry(Settings(schema_registry_url=url))
        for ask in (
            lambda: registry.schema(1),
            lambda: registry.schema_id(LlmEvent),
            lambda: list(registry.register_all()),
        ):
            with pytest.raises(UnreachableError, match="does not answer"):
                ask()
