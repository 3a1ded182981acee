"""Who is told of alerts, of which ones, and how often: the receivers of the YAML file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from nilo_consumers.alerts.matchers import matcher
from nilo_consumers.alerts.suppress import matchable, matches
from nilo_schemas.alerts import Alert, Matcher, RuleSeverity
from nilo_schemas.windows import window_length

ALL_LABELS = "..."
# What has no meaning for a receiver of a kind.
_FOREIGN = {
    "apprise": {"secret"},
    "webhook": {"title", "body"},
    "alertmanager": {
        "secret", "title", "body", "group_by", "group_wait", "group_interval", "repeat_interval",
        "send_resolved", "rate_limit",
    },
}  # fmt: skip
Kind = Literal["apprise", "webhook", "alertmanager"]


def _wait(value: Any) -> Any:
    if value == "0s":
        return timedelta(0)
    try:
        return window_length(str(value))
    except ValueError:
        raise ValueError("write a length of time as 30s, 5m, 4h or 1d") from None


def _secret(value: Any) -> Any:
    """What `env: NAME` or `file: PATH` stands for; no message may hold it."""
    if not isinstance(value, dict):
        return value
    match value:
        case {"env": str(name), **rest} if not rest:
            if not os.environ.get(name):
                raise ValueError(f"the environment has no {name}")
            return os.environ[name]
        case {"file": str(path), **rest} if not rest:
            try:
                return Path(path).expanduser().read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"{path} is not readable: {type(error).__name__}") from None
    raise ValueError("give the text itself, or `env: NAME`, or `file: PATH`")


def matcher_of(value: Any) -> Any:
    """A matcher as Alertmanager writes it: `team="search"`, `model=~"atlas.*"`, `!=`, `!~`."""
    return matcher(value) if isinstance(value, str) else value


Wait = Annotated[timedelta, BeforeValidator(_wait)]
Secret = Annotated[SecretStr, BeforeValidator(_secret)]


class _Strict(BaseModel):
    # hide_input: what does not fit may be a secret in the wrong place.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Receiver(_Strict):
    """One receiver; exactly one of `apprise`, `webhook` and `alertmanager` says of what kind.

    The waits mean what they mean in Alertmanager's routes, and have its defaults.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    apprise: Secret | None = None
    webhook: Secret | None = None
    alertmanager: Secret | None = None
    secret: Secret | None = Field(default=None, description="key of the webhook's signature")
    severities: frozenset[RuleSeverity] = frozenset({"info", "warning", "critical"})
    matchers: tuple[Annotated[Matcher, BeforeValidator(matcher_of)], ...] = ()
    group_by: tuple[str, ...] = ("alertname",)
    group_wait: Wait = timedelta(seconds=30)
    group_interval: Annotated[Wait, Field(gt=timedelta(0))] = timedelta(minutes=5)
    repeat_interval: Annotated[Wait, Field(gt=timedelta(0))] = timedelta(hours=4)
    send_resolved: bool = True
    rate_limit: int = Field(default=30, ge=1, description="notifications in a minute")
    title: str | None = Field(default=None, description="Jinja template")
    body: str | None = Field(default=None, description="Jinja template")

    @field_validator("webhook", "alertmanager")
    @classmethod
    def _is_http(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            url = urlsplit(value.get_secret_value())
            if url.scheme not in ("http", "https") or not url.hostname:
                raise ValueError("the URL must begin with http:// or https:// and name a host")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in _FOREIGN if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"a receiver needs exactly one of {', '.join(_FOREIGN)}")
        foreign = sorted(self.model_fields_set & _FOREIGN[kinds[0]])
        if foreign:
            raise ValueError(f"{foreign[0]!r} has no meaning for {kinds[0]}")
        return self

    @property
    def kind(self) -> Kind:
        """What kind of receiver it is."""
        return "apprise" if self.apprise else "webhook" if self.webhook else "alertmanager"

    @cached_property
    def url(self) -> str:
        """Where it is reached; a secret."""
        secret: SecretStr = getattr(self, self.kind)
        return secret.get_secret_value()

    def wants(self, alert: Alert) -> bool:
        """Whether it is to be told of such an alert."""
        labels = matchable(alert)
        return alert.severity in self.severities and all(
            matches(matcher, labels) for matcher in self.matchers
        )

    def group_of(self, alert: Alert) -> dict[str, str]:
        """The labels by which an alert is grouped; one that it does not have is empty."""
        labels: Mapping[str, str] = matchable(alert)
        names = labels if ALL_LABELS in self.group_by else self.group_by
        return {name: labels.get(name, "") for name in names}


class Receivers(_Strict):
    """The file: the receivers, and where alerts can be looked at."""

    external_url: str = Field(
        default="", pattern=r"^(https?://\S+)?$", description="what notifications link to"
    )
    receivers: tuple[Receiver, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [receiver.name for receiver in self.receivers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two receivers have the name {twice[0]!r}")
        return self
