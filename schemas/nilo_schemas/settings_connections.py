"""Settings of the servers: where they are and how clients get in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

# Greedy: a password may itself hold an @.
PASSWORD_IN_URL = re.compile(r"(?<=://)([^:/@]*):.*@")


class ConnectionSettings(BaseModel):
    """Kafka, the registry and the database."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(
        default_factory=lambda: Path.home() / ".nilometer",
        description="folder of the embedded stack and of everything kept on this machine",
    )
    kafka_bootstrap_servers: str | None = Field(
        default=None,
        description="host:port,… of the brokers",
        json_schema_extra={"alias_env": "KAFKA_BOOTSTRAP_SERVERS"},
    )
    schema_registry_url: str | None = Field(
        default=None,
        description="URL of a registry with Confluent's API",
        json_schema_extra={"alias_env": "SCHEMA_REGISTRY_URL"},
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="postgresql://… of the hot store",
        json_schema_extra={"alias_env": "DATABASE_URL"},
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="how clients talk to the brokers"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="SASL mechanism"
    )
    kafka_sasl_username: str | None = Field(default=None, description="SASL user")
    kafka_sasl_password: SecretStr | None = Field(default=None, description="SASL password")
    kafka_ssl_ca_location: Path | None = Field(default=None, description="PEM file of the CA")
    kafka_ssl_certificate_location: Path | None = Field(
        default=None, description="PEM file of the client certificate"
    )
    kafka_ssl_key_location: Path | None = Field(default=None, description="PEM file of its key")
    kafka_ssl_key_password: SecretStr | None = Field(
        default=None, description="password of the key"
    )
    schema_registry_user_info: SecretStr | None = Field(
        default=None,
        description="user:password for the registry",
        json_schema_extra={"alias_env": "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO"},
    )
    schema_registry_ca_location: Path | None = Field(
        default=None, description="PEM file of the registry's CA"
    )

    @model_validator(mode="after")
    def _sasl_is_whole(self) -> Self:
        if self.kafka_security_protocol.startswith("SASL"):
            wanted = ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
            missing = [name for name in wanted if getattr(self, name) is None]
            if missing:
                raise ValueError(
                    f"kafka_security_protocol {self.kafka_security_protocol} also needs "
                    + ", ".join(missing)
                )
        return self

    @model_validator(mode="after")
    def _registry_url_is_no_secret(self) -> Self:
        # The URL stands in error messages and in `nilo config show`.
        if self.schema_registry_url and PASSWORD_IN_URL.search(self.schema_registry_url):
            raise ValueError(
                "schema_registry_url holds a password; set schema_registry_user_info instead"
            )
        return self
