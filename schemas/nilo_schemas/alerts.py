"""What detection publishes: the transitions of alerts; and what people say of them: silences."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from nilo_schemas.envelope import uuid7
from nilo_schemas.fields import Count, Name, Text, Time
from nilo_schemas.record import Part, Record
from nilo_schemas.results import SourceRange

# The newest transition of each alert by fingerprint: a compacted topic, whose values are Alerts.
STATE_TOPIC = "alerts.state"
RuleSeverity = Literal["info", "warning", "critical"]


class AlertState(StrEnum):
    """Where an alert is in its life.

    INACTIVE is what a pending alert becomes whose condition went away, NO_DATA what is known of one
    whose series has fallen silent. `resolved` ends what was firing or without data.
    """

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    NO_DATA = "no_data"
    RESOLVED = "resolved"


# Somebody should know of an alert in one of these.
ACTIVE = frozenset({AlertState.FIRING, AlertState.NO_DATA})


def fingerprint_of(rule: str, labels: Mapping[str, str]) -> str:
    """The identity of an alert: 16 hex digits of SHA-256 over its rule and its labels."""
    text = json.dumps([rule, sorted(labels.items())], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Alert(Record):
    """A transition of an alert, with the evidence for it.

    The same windows give the same transitions, ids included: `id` is the idempotency key of those
    who act on alerts.
    """

    kafka_topic: ClassVar[str] = "alerts"

    id: Name = Field(description="<fingerprint>-<revision>; the same when it is sent again")
    fingerprint: Name = Field(description="16 hex digits that rule and labels have")
    rule: Name
    kind: Name = Field(description="threshold, change, ratio, budget, no_data, anomaly, drift …")
    severity: RuleSeverity
    state: AlertState
    previous: AlertState
    revision: Count = Field(description="the number of this transition in the life of the alert")
    time: Time = Field(description="when it took place, in event time: the end of the window")
    starts_at: Time = Field(description="since when the condition holds")
    ends_at: Time | None = Field(default=None, description="when it was over")
    labels: dict[Text, Text] = Field(description="the dimensions of the series")
    metric: Name
    aggregate: Text
    unit: Text
    window: Text = Field(description="as the catalogue writes it; empty where there is none")
    window_start: Time | None = None
    window_end: Time | None = None
    value: float | None = None
    threshold: float | None = None
    score: float | None = Field(default=None, description="how unusual, from 0 to 1")
    baseline: float | None = Field(default=None, description="what was expected")
    spread: float | None = Field(default=None, description="the usual deviation from it")
    figures: dict[Text, float] = Field(default_factory=dict, description="what it was reckoned of")
    summary: Text = Field(description="one line for people")
    reason: Text = Field(description="why this transition, and why now")
    advice: Text = Field(default="", description="what to look at and do")
    runbook: Text = ""
    rule_hash: Name = Field(description="SHA-256 of the rule, 16 hex digits")
    flapping: bool = Field(default=False, description="held in its state because it came and went")
    hides: list[Text] = Field(default_factory=list, description="rules whose alerts it explains")
    equal: list[Text] = Field(default_factory=list, description="labels that these must share")
    sources: list[SourceRange] = Field(description="where the events lie that it was found in")
    samples: list[Text] = Field(default_factory=list, description="ids of up to five of them")
    acknowledged_by: Text | None = None

    @property
    def active(self) -> bool:
        """Whether somebody should know of it."""
        return self.state in ACTIVE


class Matcher(Part):
    """A condition on one label of an alert, as Alertmanager has it.

    `alertname`, `severity` and `metric` are labels as well. Raises ValueError for a value that is
    to be a regular expression and is none.
    """

    name: Name
    value: Text
    is_regex: bool = False
    is_equal: bool = True

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        if self.is_regex:
            try:
                re.compile(self.value)
            except re.error as error:
                raise ValueError(f"{self.value!r} is no regular expression: {error}") from None
        return self


class Silence(Record):
    """Alerts that nobody wants to be told of for a while, or one that somebody has taken on.

    With a `fingerprint` it is an acknowledgement: it holds for this episode of this alert, until it
    is resolved. In a compacted topic, by id; the newest version counts.
    """

    kafka_topic: ClassVar[str] = "alerts.silences"

    id: Name = Field(default_factory=uuid7)
    fingerprint: Name | None = None
    episode: Time | None = Field(default=None, description="starts_at of the alert acknowledged")
    matchers: list[Matcher] = Field(default_factory=list, description="all must match")
    starts_at: Time
    ends_at: Time | None = Field(default=None, description="not needed for an acknowledgement")
    created_by: Name
    comment: Text = ""
