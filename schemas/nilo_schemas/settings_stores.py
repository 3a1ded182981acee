"""Settings of the stores: where their data lies, how much of it, and for how long."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from nilo_schemas.settings_connections import PASSWORD_IN_URL, ConnectionSettings
from nilo_schemas.windows import parse_keep

_DAYS_BY_TOPIC = r"^([\w.-]+=[1-9]\d{0,3}(,[\w.-]+=[1-9]\d{0,3})*)?$"
_PASSWORD_IN_QUERY = re.compile(r"(?i)[?&](p|password|token)=")


class StoreSettings(ConnectionSettings):
    """What the sinks write to."""

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
        pattern=_DAYS_BY_TOPIC,
        description="other numbers of hot days: `events.llm=7,metrics.windows=400`",
    )
    warm_days: int = Field(
        default=180,
        ge=1,
        le=36500,
        description="days before today that the lake holds; older ones go to the archive",
    )
    warm_days_by_topic: str = Field(
        default="",
        pattern=_DAYS_BY_TOPIC,
        description="other numbers of warm days: `events.market=90`",
    )
    cold_days: int = Field(
        default=730,
        ge=1,
        le=36500,
        description="days before today that the archive holds; older ones are deleted",
    )
    cold_days_by_topic: str = Field(
        default="",
        pattern=_DAYS_BY_TOPIC,
        description="other numbers of cold days: `events.llm=3650`",
    )
    windows_keep: str = Field(
        default="1m=7,5m=30,1h=90,1d=365",
        description="days for which windows are kept, by length; others as the next longer length, "
        "beyond the longest and sessions as the longest",
    )
    archive: Path | None = Field(
        default=None,
        description="folder of the archive, on a disk of this machine (default: HOME/archive)",
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
        default=250_000, ge=1, description="events of a topic that are written without waiting"
    )
    notify_file: Path | None = Field(
        default=None,
        description="YAML file of the receivers of `nilo sink notify`",
        json_schema_extra={"alias_env": "NILO_NOTIFY"},
    )
    sqlite_file: Path | None = Field(
        default=None, description="file of `nilo sink sqlite` (default: HOME/nilo.db)"
    )

    @field_validator("windows_keep")
    @classmethod
    def _windows_keep_is_right(cls, text: str) -> str:
        parse_keep(text)
        return text

    @model_validator(mode="after")
    def _store_urls_are_no_secrets(self) -> Self:
        # They stand in error messages and in `nilo config show`.
        for name, way_out in (
            ("influx_url", "; set influx_token instead"),
            ("pushgateway_url", ""),
        ):
            url = getattr(self, name) or ""
            if PASSWORD_IN_URL.search(url) or _PASSWORD_IN_QUERY.search(url):
                raise ValueError(f"{name} holds a password{way_out}")
        if "precision=" in (self.influx_url or ""):
            raise ValueError("influx_url holds a precision: leave it out, nanoseconds are sent")
        return self

    @property
    def lake_location(self) -> str:
        """Folder or URL of the Delta Lake tables."""
        return self.lake or str(self.home / "lake")

    @property
    def archive_location(self) -> Path:
        """The folder of the archive."""
        return (self.archive or self.home / "archive").expanduser()

    def own_days(self, tier: Literal["hot", "warm", "cold"]) -> dict[str, int]:
        """The days in a tier of the topics (without prefix) that have a number of their own."""
        text = {
            "hot": self.hot_days_by_topic,
            "warm": self.warm_days_by_topic,
            "cold": self.cold_days_by_topic,
        }[tier]
        pairs = (pair.split("=") for pair in text.split(",") if pair)
        return {topic: int(days) for topic, days in pairs}

    @property
    def sqlite_location(self) -> Path:
        """The SQLite file."""
        return (self.sqlite_file or self.home / "nilo.db").expanduser()
