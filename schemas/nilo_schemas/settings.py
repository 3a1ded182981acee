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
from typing import Any

from pydantic import PrivateAttr, SecretStr, ValidationError

from nilo_schemas.errors import SettingsError
from nilo_schemas.settings_connections import PASSWORD_IN_URL
from nilo_schemas.settings_processing import ProcessingSettings

CONFIG_FILE = "nilo.toml"
RUN_FILE = "run.json"
RUN_FILE_KEYS = (
    "kafka_bootstrap_servers",
    "schema_registry_url",
    "database_url",
    "replication_factor",
)
_Layer = dict[str, tuple[Any, str]]
# libpq takes a password as a parameter as well.
_PASSWORD_PARAMETER = re.compile(r"(?i)(password=)('[^']*'|[^&\s]*)")


class Settings(ProcessingSettings):
    """One immutable set of settings; the environment variable of `x` is `NILO_X`.

    Names in a field's `alias_env` are accepted as well, after the `NILO_` name.
    """

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def run_file(self) -> Path:
        """The file in which the embedded stack says where it listens."""
        return self.home / RUN_FILE

    def source(self, name: str) -> str:
        """Where the value of a setting came from, for people."""
        return self._sources.get(name, "default")

    def shown(self, name: str) -> str:
        """The value of a setting as it may be printed: secrets masked."""
        value = getattr(self, name)
        if name == "database_url" and value is not None:
            masked = PASSWORD_IN_URL.sub(r"\1:****@", value.get_secret_value())
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
