"""The metrics catalogue: what is measured, of which events, over which windows.

A metric is data, never code. `catalogue_files` reads the YAML; here are the models and the
checks against the event families.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, Self, TypeAlias, get_origin

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from nilo_schemas.envelope import Event
from nilo_schemas.families import families
from nilo_schemas.record import inner_type, plain_type

Aggregate = Literal["count", "errors", "sum", "min", "max", "mean", "rate", "quantiles"]
Plain: TypeAlias = str | bool | int | float
DEFAULT_SCALE = 5
_WINDOW = re.compile(r"^([1-9]\d*)(s|m|h|d)$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# Values add up as integers: so many to one of the metric's unit.
VALUE_SCALES: dict[Any, int] = {
    timedelta: 1_000_000,
    Decimal: 1_000_000_000,
    int: 1,
    float: 1_000_000,
    datetime: 1_000_000,
}
_UNITS: dict[Any, str] = {timedelta: "seconds", Decimal: "dollars", datetime: "seconds"}


def window_length(text: str) -> timedelta:
    """The length of a window such as `10s`, `1m`, `1h`, `1d`; raises ValueError."""
    match = _WINDOW.match(text)
    if not match:
        raise ValueError(f"window {text!r} is not a whole number of s, m, h or d, such as 10s")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Condition(_Strict):
    """What a field must be; all that are given must hold. A null field meets only `present: false`.

    `differs_from` names another field of the same event.
    """

    any_of: list[Plain] = Field(default_factory=list)
    not_: Plain | list[Plain] | None = Field(default=None, alias="not")
    gte: float | int | None = None
    lte: float | int | None = None
    present: bool | None = None
    differs_from: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        return {"any_of": value if isinstance(value, list) else [value]}

    def excluded(self) -> list[Plain]:
        """The values that the field must not have."""
        if self.not_ is None:
            return []
        return self.not_ if isinstance(self.not_, list) else [self.not_]


class AlertRule(_Strict):
    """A rule on the windows of a metric: a threshold, an anomaly or silence."""

    name: str = Field(pattern=r"^[A-Z][A-Za-z0-9]+$")
    when: str | None = Field(default=None, pattern=r"^\w+ *(>|<|>=|<=) *[\d.]+ *[a-z%$/]*$")
    anomaly: str | None = None
    no_data: str | None = None
    for_: str | None = Field(default=None, alias="for")
    severity: Literal["info", "warning", "critical"]
    runbook: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(kind is not None for kind in (self.when, self.anomaly, self.no_data)) != 1:
            raise ValueError(f"alert {self.name} needs exactly one of when, anomaly, no_data")
        if self.no_data is not None:
            window_length(self.no_data)
        return self


class Metric(_Strict):
    """One metric: events selected, a value, dimensions, windows and aggregates."""

    description: str
    owner: str
    event: str = Field(description="topic of the family, such as events.llm")
    where: dict[str, Condition] = Field(default_factory=dict)
    value: str | None = Field(default=None, description="a field, or `time field - time field`")
    unit: str = ""
    error_when: dict[str, Condition] = Field(default_factory=dict)
    dimensions: list[str] = Field(default_factory=list)
    windows: list[str] = Field(min_length=1)
    aggregates: list[Aggregate] = Field(min_length=1)
    quantiles: list[float] = Field(default=[0.5, 0.9, 0.95, 0.99])
    histogram_scale: int = Field(default=DEFAULT_SCALE, ge=0, le=10)
    alerts: list[AlertRule] = Field(default_factory=list)

    def family(self) -> type[Event]:
        """The family whose events are measured."""
        return families()[self.event]

    def value_fields(self) -> list[str]:
        """The fields of which the value is made: none, one, or the two of a difference."""
        return [part.strip() for part in self.value.split(" - ")] if self.value else []

    def value_scale(self) -> int:
        """How many integer steps make one of the metric's unit."""
        fields = self.value_fields()
        return VALUE_SCALES[field_kind(self.family(), fields[0])] if fields else 1

    def problems(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What is wrong with this metric against its family: where, and what."""
        if self.event not in families():
            yield ("event",), f"unknown event {self.event!r}; known: {', '.join(families())}"
            return
        yield from self._field_problems()
        yield from self._value_problems()
        for index, window in enumerate(self.windows):
            try:
                window_length(window)
            except ValueError as error:
                yield ("windows", index), str(error)

    def _field_problems(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for part, conditions in (("where", self.where), ("error_when", self.error_when)):
            for name, condition in conditions.items():
                for field in filter(None, (name, condition.differs_from)):
                    yield from self._unknown((part, name), field)
        for index, name in enumerate(self.dimensions):
            yield from self._unknown(("dimensions", index), name)
            if not name.startswith("attributes.") and (
                field_kind(self.family(), name) not in (str, bool, None)
            ):
                yield ("dimensions", index), f"dimension {name!r} is not a text or boolean field"

    def _value_problems(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        fields = self.value_fields()
        kinds = [field_kind(self.family(), name) for name in fields]
        for name, kind in zip(fields, kinds, strict=True):
            yield from self._unknown(("value",), name)
            if kind is not None and kind not in VALUE_SCALES:
                yield ("value",), f"field {name!r} is not a number"
            elif (kind is datetime) != (len(fields) == 2) and kind is not None:
                yield (
                    ("value",),
                    "a time is measured as a difference of two: `decision_time - time`",
                )
            elif _UNITS.get(kind, self.unit) != self.unit:
                yield ("unit",), f"the unit of {name!r} is {_UNITS[kind]!r}, not {self.unit!r}"
        if not fields and set(self.aggregates) - {"count", "errors", "rate"}:
            yield ("aggregates",), "without a value there are only count, errors and rate"

    def _unknown(
        self, place: tuple[str | int, ...], name: str
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if not name.startswith("attributes.") and name not in self.family().model_fields:
            known = ", ".join(self.family().model_fields)
            yield place, f"{self.event} has no field {name!r}; known: {known}"


def field_kind(family: type[Event], name: str) -> Any:
    """The Python type of a field, with text-like ones as str; None for an unknown field."""
    info = family.model_fields.get(name)
    if info is None:
        return None
    kind = plain_type(inner_type(info.annotation)[0])
    if get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, str)):
        return str
    return datetime if kind is AwareDatetime else kind


class Catalogue(BaseModel):
    """All metrics by name."""

    model_config = ConfigDict(frozen=True)

    metrics: dict[str, Metric]

    def of_event(self, topic: str) -> dict[str, Metric]:
        """The metrics of one family, by name."""
        return {name: metric for name, metric in self.metrics.items() if metric.event == topic}

    def topics(self) -> list[str]:
        """The topics of all families that some metric measures."""
        return sorted({metric.event for metric in self.metrics.values()})
