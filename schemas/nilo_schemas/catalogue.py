"""The metrics catalogue: what is measured, of which events, over which windows.

A metric is data, never code. `catalogue_files` reads the YAML; here are the models and the
checks against the event families.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias, get_origin

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from nilo_schemas.envelope import Event
from nilo_schemas.families import families
from nilo_schemas.record import inner_type, plain_type
from nilo_schemas.rules import Rule
from nilo_schemas.windows import Window, parse_window
from nilo_schemas.windows import window_length as window_length  # noqa: PLC0414  others import it from here

Aggregate = Literal["count", "errors", "sum", "min", "max", "mean", "rate", "quantiles", "distinct"]
_WITHOUT_VALUE = {"count", "errors", "rate", "distinct"}
_Problems: TypeAlias = Iterator[tuple[tuple[str | int, ...], str]]
Plain: TypeAlias = str | bool | int | float
DEFAULT_SCALE = 5
# Values add up as integers: so many to one of the metric's unit.
VALUE_SCALES: dict[Any, int] = {
    timedelta: 1_000_000,
    Decimal: 1_000_000_000,
    int: 1,
    float: 1_000_000,
    datetime: 1_000_000,
}
_MINUTES = parse_window("1m")
_UNITS: dict[Any, str] = {timedelta: "seconds", Decimal: "dollars", datetime: "seconds"}


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
    rollups: list[str] = Field(
        default=["5m", "1h", "1d"], description="longer windows, made of those of 1m if there are"
    )
    aggregates: list[Aggregate] = Field(min_length=1)
    distinct: str | None = Field(default=None, description="a field whose values are told apart")
    quantiles: list[float] = Field(default=[0.5, 0.9, 0.95, 0.99])
    histogram_scale: int = Field(default=DEFAULT_SCALE, ge=0, le=10)
    max_series: int | None = Field(default=None, ge=1, description="default: the series_cap")
    alerts: list[Rule] = Field(default_factory=list)

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

    def resolutions(self) -> list[Window]:
        """All windows of the metric: its own, then the rollups that are not among them.

        Raises:
            ValueError: a text is no window; `problems` tells where.
        """
        windows = [parse_window(text) for text in self.windows]
        rollups = [parse_window(text) for text in self.rollups] if self._has_minutes() else []
        shapes = {window.shape for window in windows}
        return windows + [window for window in rollups if window.shape not in shapes]

    def problems(self) -> _Problems:
        """What is wrong with this metric against its family: where, and what."""
        if self.event not in families():
            yield ("event",), f"unknown event {self.event!r}; known: {', '.join(families())}"
            return
        yield from self._field_problems()
        yield from self._value_problems()
        yield from self._distinct_problems()
        yield from self._window_problems()

    def _field_problems(self) -> _Problems:
        for part, conditions in (("where", self.where), ("error_when", self.error_when)):
            for name, condition in conditions.items():
                for field in filter(None, (name, condition.differs_from)):
                    yield from self._unknown((part, name), field)
        for index, name in enumerate(self.dimensions):
            yield from self._not_a_label(("dimensions", index), name)

    def _value_problems(self) -> _Problems:
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
        if not fields and set(self.aggregates) - _WITHOUT_VALUE:
            yield ("aggregates",), "without a value there are only count, errors, rate and distinct"

    def _distinct_problems(self) -> _Problems:
        if self.distinct is not None:
            yield from self._not_a_label(("distinct",), self.distinct)
            if "distinct" not in self.aggregates:
                yield ("distinct",), "the field is not used: add distinct to the aggregates"
        elif "distinct" in self.aggregates:
            yield ("aggregates",), "distinct needs a field: `distinct: session_id`"

    def _window_problems(self) -> _Problems:
        found = [*_text_problems("windows", self.windows), *_text_problems("rollups", self.rollups)]
        yield from found
        wanted = self.rollups and "rollups" in self.model_fields_set
        if wanted and not found and not self._has_minutes():
            yield ("rollups",), "rollups are made of the window 1m, which is not among the windows"

    def _has_minutes(self) -> bool:
        return _MINUTES.shape in {parse_window(text).shape for text in self.windows}

    def _not_a_label(self, place: tuple[str | int, ...], name: str) -> _Problems:
        yield from self._unknown(place, name)
        if not name.startswith("attributes.") and (
            field_kind(self.family(), name) not in (str, bool, None)
        ):
            yield place, f"{name!r} is not a text or boolean field"

    def _unknown(self, place: tuple[str | int, ...], name: str) -> _Problems:
        if not name.startswith("attributes.") and name not in self.family().model_fields:
            known = ", ".join(self.family().model_fields)
            yield place, f"{self.event} has no field {name!r}; known: {known}"


def _text_problems(part: str, texts: list[str]) -> _Problems:
    """What is wrong with the texts of `windows` or `rollups`."""
    known: dict[Any, str] = {}
    for index, text in enumerate(texts):
        try:
            window = parse_window(text)
        except ValueError as error:
            yield (part, index), str(error)
            continue
        if window.shape in known:
            yield (part, index), f"window {text!r} is {known[window.shape]!r} once more"
        known.setdefault(window.shape, text)
        if part == "rollups" and (window.kind != "tumbling" or window.length % _MINUTES.length):
            yield (part, index), f"rollup {text!r} is not a number of whole minutes, such as 5m"


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
    """All metrics and all rules in force, by name."""

    model_config = ConfigDict(frozen=True)

    metrics: dict[str, Metric]
    rules: dict[str, Rule] = Field(default_factory=dict)

    def of_event(self, topic: str) -> dict[str, Metric]:
        """The metrics of one family, by name."""
        return {name: metric for name, metric in self.metrics.items() if metric.event == topic}

    def topics(self) -> list[str]:
        """The topics of all families that some metric measures."""
        return sorted({metric.event for metric in self.metrics.values()})
