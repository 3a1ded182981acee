"""The schema registry: contracts registered, their ids looked up, schemas fetched by id."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from nilo_schemas.clients import registry_client
from nilo_schemas.contracts import contract, records
from nilo_schemas.errors import ContractError, DecodeError, NiloError, Reason, UnreachableError
from nilo_schemas.record import Record
from nilo_schemas.settings import Settings

COMPATIBILITY = "FULL_TRANSITIVE"
T = TypeVar("T")


class Registry:
    """The registry of these settings; every answer that cannot change is asked for once.

    Safe to use from several threads.
    """

    def __init__(self, settings: Settings) -> None:
        self._client: SchemaRegistryClient = registry_client(settings)
        self._url = settings.registry_url()
        self._prefix = settings.topic_prefix
        self._schemas: dict[int, dict[str, Any]] = {}
        self._ids: dict[str, int] = {}

    def subject(self, topic: str) -> str:
        """The subject of a topic's values (TopicNameStrategy); `topic` without the prefix."""
        return f"{self._prefix}{topic}-value"

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The schema with this id.

        Raises:
            DecodeError: the registry does not know the id.
            UnreachableError: the registry does not answer.
        """
        if schema_id not in self._schemas:
            self._schemas[schema_id] = self._fetch(schema_id)
        return self._schemas[schema_id]

    def _fetch(self, schema_id: int) -> dict[str, Any]:
        try:
            found = self._ask(lambda: self._client.get_schema(schema_id))
        except SchemaRegistryError as error:
            raise DecodeError(
                Reason.UNKNOWN_SCHEMA, f"the registry has no schema {schema_id}: {error}"
            ) from None
        if found.schema_str is None:
            raise DecodeError(Reason.UNKNOWN_SCHEMA, f"schema {schema_id} is empty")
        schema: dict[str, Any] = json.loads(found.schema_str)
        return schema

    def schema_id(self, record: type[Record]) -> int:
        """The id under which the contract of a record is registered.

        Raises:
            ContractError: it is not registered.
            UnreachableError: the registry does not answer.
        """
        topic = record.kafka_topic
        if topic not in self._ids:
            try:
                found = self._ask(
                    lambda: self._client.lookup_schema(self.subject(topic), _schema(record))
                )
            except SchemaRegistryError as error:
                raise ContractError(
                    f"the contract of {topic} is not registered at {self._url} "
                    f"({error}); run `nilo schemas register`"
                ) from None
            self._ids[topic] = _known(found.schema_id)
        return self._ids[topic]

    def register_all(self) -> Iterator[tuple[str, int]]:
        """Register every contract under FULL_TRANSITIVE; yield subject and id of each.

        Raises:
            ContractError: the registry refuses a contract.
            UnreachableError: the registry does not answer.
        """
        for topic, record in records().items():
            yield self.subject(topic), self.register(record)

    def register(self, record: type[Record]) -> int:
        """Register one contract under FULL_TRANSITIVE; its id. Raises as `register_all` does."""
        subject = self.subject(record.kafka_topic)
        try:
            found = self._ask(lambda: self._client.register_schema(subject, _schema(record)))
            self._ask(
                lambda: self._client.set_compatibility(subject_name=subject, level=COMPATIBILITY)
            )
        except SchemaRegistryError as error:
            raise ContractError(f"the registry refuses the contract {subject}: {error}") from None
        self._ids[record.kafka_topic] = found
        return found

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except SchemaRegistryError as error:
            if error.http_status_code >= 500:
                raise UnreachableError(f"registry {self._url} fails: {error}") from error
            raise
        except NiloError:
            raise
        except Exception as error:
            # The client lets errors of its HTTP library through; which library varies by version.
            raise UnreachableError(
                f"registry {self._url} does not answer ({error}); `nilo status` shows what runs"
            ) from error


def _schema(record: type[Record]) -> Schema:
    return Schema(json.dumps(contract(record)), "AVRO")


def _known(schema_id: int | None) -> int:
    if schema_id is None:
        raise ContractError("the registry answered without a schema id")
    return schema_id
