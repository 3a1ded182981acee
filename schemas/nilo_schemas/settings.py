"""Settings of every program, and where each value came from.

Order: flags, environment, nilo.toml in the working directory, the run file of the embedded
stack, defaults. The first layer that has a value wins.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)

from nilo_schemas.errors import SettingsError

CONFIG_FILE = "nilo.toml"
RUN_FILE = "run.json"
RUN_FILE_KEYS = (
    "kafka_bootstrap_servers",
    "schema_registry_url",
    "database_url",
    "replication_factor",
)
_Layer = dict[str, tuple[Any, str]]
# Greedy: a password may itself hold an @; and libpq also takes it as a parameter.
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^:/@]*):.*@")
_PASSWORD_IN_QUERY = re.compile(r"(?i)[?&](p|password|token)=")
_PASSWORD_PARAMETER = re.compile(r"(?i)(password=)('[^']*'|[^&\s]*)")


class Settings(BaseModel):
    """One immutable set of settings; the environment variable of `x` is `NILO_X`.

    Names in a field's `alias_env` are accepted as well, after the `NILO_` name.
    """

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
    database_schema: str = Field(
        default="nilo", pattern=r"^[a-z_][a-z0-9_]{0,62}$", description="schema of our tables"
    )
    hot_days: int = Field(
        default=30,
        ge=1,
        le=3650,
        description="days before today that PostgreSQL holds in partitions of their own",
    )
    hot_days_by_topic: str = Field(
        default="",
        pattern=r"^([\w.-]+=[1-9]\d{0,2}(,[\w.-]+=[1-9]\d{0,2})*)?$",
        description="other numbers of hot days: `events.llm=7,metrics.windows=400`",
    )
    maintenance_every: float = Field(
        default=60.0,
        ge=0,
        description="seconds between rounds of the PostgreSQL sink's maintenance, which makes days "
        "ahead and refreshes views; 0: none",
    )
    lake: str | None = Field(
        default=None, description="folder or URL of the Delta Lake tables (default: HOME/lake)"
    )
    influx_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/]",
        description="where line protocol is posted to, such as "
        "http://influx:8086/api/v2/write?org=acme&bucket=nilo or http://questdb:9000/write",
    )
    influx_token: SecretStr | None = Field(
        default=None, description="token for it; InfluxDB 1.8 takes user:password"
    )
    pushgateway_url: str | None = Field(
        default=None, pattern=r"^https?://[^/]", description="URL of a Prometheus push gateway"
    )
    prometheus_histograms: Literal["classic", "native"] = Field(
        default="classic",
        description="form of histograms on /metrics; native: for a Prometheus that asks for it",
    )
    prometheus_series_cap: int = Field(
        default=1_000,
        ge=1,
        description="series that a metric may have in one window on /metrics; windows of the rest "
        "are counted and left out",
    )
    lake_seconds: float = Field(
        default=5.0, gt=0, description="seconds after which events are written into the lake"
    )
    lake_rows: int = Field(
        default=100_000, ge=1, description="events of a topic that are written without waiting"
    )
    sqlite_file: Path | None = Field(
        default=None, description="file of `nilo sink sqlite` (default: HOME/nilo.db)"
    )
    catalogue: Path | None = Field(
        default=None, description="folder of your own metrics, laid over the shipped ones"
    )
    topic_prefix: str = Field(
        default="", pattern=r"^[a-zA-Z0-9.-]{0,64}$", description="put before every topic name"
    )
    partitions: int = Field(default=4, ge=1, le=1024, description="partitions of a new topic")
    replication_factor: int = Field(default=1, ge=1, le=9, description="copies of a new topic")
    out_of_orderness: float = Field(
        default=2.0, ge=0, description="seconds that the watermark stays behind the newest event"
    )
    grace: float = Field(
        default=600.0, ge=0, description="seconds after its end in which a window takes late events"
    )
    idle_after: float = Field(
        default=5.0, gt=0, description="seconds of silence after which a partition holds up nobody"
    )
    future_bound: float = Field(
        default=3600.0,
        ge=0,
        description="seconds by which an event's time may be ahead of its Kafka timestamp; "
        "what is further ahead becomes a dead letter",
    )
    series_cap: int = Field(
        default=10_000,
        ge=1,
        description="series that a metric may have in one window of one source partition; "
        "the rest count as `__other__`",
    )
    stuck_after: float = Field(
        default=60.0,
        gt=0,
        description="seconds without progress, with messages to read, after which a worker ends",
    )
    report_every: float = Field(
        default=10.0,
        ge=0,
        description="seconds between the processors' events about themselves; 0: none",
    )

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

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
        if self.schema_registry_url and _PASSWORD_IN_URL.search(self.schema_registry_url):
            raise ValueError(
                "schema_registry_url holds a password; set schema_registry_user_info instead"
            )
        return self

    @model_validator(mode="after")
    def _store_urls_are_no_secrets(self) -> Self:
        # They stand in error messages and in `nilo config show`.
        for name, way_out in (
            ("influx_url", "; set influx_token instead"),
            ("pushgateway_url", ""),
        ):
            url = getattr(self, name) or ""
            if _PASSWORD_IN_URL.search(url) or _PASSWORD_IN_QUERY.search(url):
                raise ValueError(f"{name} holds a password{way_out}")
        if "precision=" in (self.influx_url or ""):
            raise ValueError("influx_url holds a precision: leave it out, nanoseconds are sent")
        return self

    @property
    def run_file(self) -> Path:
        """The file in which the embedded stack says where it listens."""
        return self.home / RUN_FILE

    @property
    def lake_location(self) -> str:
        """Folder or URL of the Delta Lake tables."""
        return self.lake or str(self.home / "lake")

    def own_hot_days(self) -> dict[str, int]:
        """The hot days of the topics (without prefix) that have a number of their own."""
        pairs = (pair.split("=") for pair in self.hot_days_by_topic.split(",") if pair)
        return {topic: int(days) for topic, days in pairs}

    @property
    def sqlite_location(self) -> Path:
        """The SQLite file."""
        return (self.sqlite_file or self.home / "nilo.db").expanduser()

    def source(self, name: str) -> str:
        """Where the value of a setting came from, for people."""
        return self._sources.get(name, "default")

    def shown(self, name: str) -> str:
        """The value of a setting as it may be printed: secrets masked."""
        value = getattr(self, name)
        if name == "database_url" and value is not None:
            masked = _PASSWORD_IN_URL.sub(r"\1:****@", value.get_secret_value())
            return _PASSWORD_PARAMETER.sub(r"\1****", masked)
        if isinstance(value, SecretStr):
            return "****"
        return "" if value is None else str(value)

    def environment(self) -> dict[str, str]:
        """The settings as environment variables of another program of ours; holds secrets."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            f"NILO_{name.upper()}": (
                value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            )
            for name, value in values.items()
            if value not in (None, "")
        }

    def brokers(self) -> str:
        """The bootstrap servers; raises SettingsError when none are known."""
        return self._required("kafka_bootstrap_servers", "KAFKA_BOOTSTRAP_SERVERS")

    def registry_url(self) -> str:
        """The registry's URL; raises SettingsError when none is known."""
        return self._required("schema_registry_url", "SCHEMA_REGISTRY_URL")

    def database(self) -> str:
        """The database's URL with its password; raises SettingsError when none is known."""
        if self.database_url is None:
            self._required("database_url", "DATABASE_URL")
        assert self.database_url is not None  # noqa: S101  narrowing; the line above has raised
        return self.database_url.get_secret_value()

    def store_url(self, name: str) -> str:
        """The URL of a store that `nilo up` does not start; raises SettingsError without it."""
        url = getattr(self, name)
        if url is None:
            raise SettingsError(f"{name} is not set: set NILO_{name.upper()}")
        return str(url)

    def _required(self, name: str, env: str) -> str:
        value = getattr(self, name)
        if value is None:
            raise SettingsError(
                f"{name} is not set and no embedded stack runs under {self.home}: "
                f"start one with `nilo up`, or set {env}"
            )
        return str(value)


def load_settings(
    flags: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None
) -> Settings:
    """Merge all layers into one Settings.

    Args:
        flags: values given on the command line; None counts as not given.
        env: the environment (default: os.environ).

    Raises:
        SettingsError: a value does not fit, or a file does not parse.
    """
    env = os.environ if env is None else env
    layers = [_from_flags(flags or {}), _from_environment(env), _from_toml(Path(CONFIG_FILE))]
    merged, sources = _merge(layers)
    home = Path(merged.get("home", Path.home() / ".nilometer")).expanduser()
    merged["home"] = home
    layers.append(_from_run_file(home / RUN_FILE))
    run_values, run_sources = _merge(layers[3:])
    merged, sources = run_values | merged, run_sources | sources
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise SettingsError(_explain(error, sources)) from None
    settings._sources.update(sources)
    return settings


def _from_flags(flags: Mapping[str, Any]) -> _Layer:
    return {
        name: (value, f"flag --{name.replace('_', '-')}")
        for name, value in flags.items()
        if value is not None
    }


def _from_environment(env: Mapping[str, str]) -> _Layer:
    layer: _Layer = {}
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        alias = extra.get("alias_env") if isinstance(extra, dict) else None
        for variable in (f"NILO_{name.upper()}", alias):
            if isinstance(variable, str) and env.get(variable):
                layer[name] = (env[variable], f"environment {variable}")
                break
    return layer


def _from_toml(path: Path) -> _Layer:
    if not path.is_file():
        return {}
    try:
        values = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.resolve()} is not valid TOML: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path.resolve()} is not readable: {error}") from None
    unknown = sorted(set(values) - set(Settings.model_fields))
    if unknown:
        raise SettingsError(
            f"{path.resolve()}: unknown setting {unknown[0]!r}; `nilo config show` lists all names"
        )
    return {name: (value, str(path)) for name, value in values.items()}


def _from_run_file(path: Path) -> _Layer:
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} is not readable ({error}); run `nilo up` again") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path} is not readable (no JSON object); run `nilo up` again")
    return {key: (values[key], f"run file {path}") for key in RUN_FILE_KEYS if key in values}


def _merge(layers: list[_Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    merged: _Layer = {}
    for layer in reversed(layers):
        merged |= layer
    return (
        {name: value for name, (value, _) in merged.items()},
        {name: source for name, (_, source) in merged.items()},
    )


def _explain(error: ValidationError, sources: Mapping[str, str]) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    came_from = f" (from {sources[name]})" if name in sources else ""
    return f"setting {name}{came_from}: {first['msg']}" if name else str(first["msg"])
