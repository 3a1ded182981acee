"""The rules of the catalogue: what about a metric's windows is worth an alert.

A rule is data, never code. Here are the models and what their short texts mean; `rule_checks` holds
them against the metrics, and the engine evaluates them.
"""

from __future__ import annotations

import hashlib
import math
import re
from datetime import timedelta
from typing import Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nilo_schemas.alerts import RuleSeverity
from nilo_schemas.windows import window_length

Kind = Literal["threshold", "change", "ratio", "budget", "no_data", "anomaly", "drift", "burn_rate"]
Operator = Literal[">", "<", ">=", "<="]
# The key in YAML that makes a rule of a kind, and the further keys that the kind takes.
KEYS: dict[str, tuple[Kind, frozenset[str]]] = {
    "when": ("threshold", frozenset({"clear"})),
    "change": ("change", frozenset({"over"})),
    "ratio": ("ratio", frozenset({"clear", "by"})),
    "budget": ("budget", frozenset({"by"})),
    "no_data": ("no_data", frozenset()),
    "anomaly": ("anomaly", frozenset({"direction"})),
    "drift": ("drift", frozenset({"against"})),
    "burn_rate": ("burn_rate", frozenset({"objective"})),
}
_OPTIONS = frozenset[str]().union(*(options for _, options in KEYS.values()))
PERIODS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "run": timedelta(0)}
_CONDITION = re.compile(
    r"(?P<aggregate>\w+)(?: */ *(?P<other>[\w.]+)\.(?P<divisor>\w+))?"
    r" *(?P<operator>>=|<=|>|<) *(?P<number>-?[0-9]+(?:\.[0-9]+)?) *(?P<unit>[a-zA-Zµ%$/]*)"
    r"(?: +per +(?P<period>\w+))?"
)
_BURN = re.compile(r"([0-9]+(?:\.[0-9]+)?)x? +over +(\w+)")
_FOR = re.compile(r"([1-9][0-9]*) windows?")
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) *%")


class Condition(NamedTuple):
    """`p95 > 2s`, `count / llm.calls.count > 10%`, `sum > 50 per day`: the parts, as written."""

    aggregate: str
    operator: Operator
    number: float
    unit: str
    other: str | None = None
    divisor: str | None = None
    period: str | None = None


class Burn(NamedTuple):
    """`14.4 over 1h`: so many times as fast as the objective allows, over a long window.

    The short window that must agree is a twelfth of it (Google's SRE workbook, chapter 5).
    """

    factor: float
    over: timedelta


class Rule(BaseModel):
    """A rule on the windows of a metric; exactly one key says of what kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=r"^[A-Z][A-Za-z0-9]+$")
    metric: str = ""
    enabled: bool = True
    when: str | None = Field(default=None, description="`p95 > 2s`")
    change: str | None = Field(default=None, description="`mean > 50%`, against `over` ago")
    ratio: str | None = Field(default=None, description="`count / llm.calls.count > 10%`")
    budget: str | None = Field(default=None, description="`sum > 50 per day`, or hour, or run")
    no_data: str | None = Field(default=None, description="so long without a window: `5m`")
    anomaly: str | None = Field(default=None, description="the aggregate that is watched")
    drift: str | None = Field(default=None, description="the dimension whose mix is watched")
    burn_rate: str | None = Field(default=None, description="`14.4 over 1h`")
    clear: str | None = Field(default=None, description="what must hold before it is resolved")
    over: str | None = None
    by: list[str] | None = Field(default=None, description="the dimensions that are kept apart")
    direction: Literal["up", "down", "both"] = "both"
    against: dict[str, float] | None = Field(default=None, description="a golden mix of shares")
    objective: str | None = Field(default=None, description="share that must succeed: `99.9%`")
    window: str | None = Field(default=None, description="default: the longest of the metric's own")
    for_: str | None = Field(default=None, alias="for", description="`3 windows` or `5m`")
    keep_firing_for: str | None = None
    min_count: int = Field(default=1, ge=1, description="events that a window must have")
    severity: RuleSeverity
    summary: str | None = None
    advice: str = Field(default="", description="what to look at and do")
    runbook: str | None = None
    hides: list[str] = Field(default_factory=list, description="rules whose alerts it explains")
    equal: list[str] = Field(default_factory=list, description="labels that these must share")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [key for key in KEYS if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"alert {self.name} needs exactly one of {', '.join(KEYS)}")
        foreign = sorted((self.model_fields_set & _OPTIONS) - KEYS[given[0]][1])
        if foreign:
            raise ValueError(f"alert {self.name}: {foreign[0]!r} has no meaning beside {given[0]}")
        return self

    @property
    def key(self) -> str:
        """The key that says what kind of rule it is."""
        return next(key for key in KEYS if getattr(self, key) is not None)

    @property
    def kind(self) -> Kind:
        """What kind of rule it is."""
        return KEYS[self.key][0]

    @property
    def hash(self) -> str:
        """16 hex digits of SHA-256 over the whole rule."""
        return hashlib.sha256(self.model_dump_json(by_alias=True).encode()).hexdigest()[:16]

    @property
    def learnt(self) -> str:
        """What must be as it was for what the rule has learnt to hold: not its bound, say."""
        told = self.condition() if self.when or self.change or self.ratio or self.budget else None
        about = told and (told.aggregate, told.other, told.divisor, told.period)
        burn = self.burn_rate and self.burn().over
        parts = (
            self.metric,
            self.window,
            about,
            self.over,
            self.by,
            self.anomaly,
            self.drift,
            burn,
        )
        return f"{self.kind} {parts}".replace("|", " ")

    def condition(self) -> Condition:
        """What a window is held against; raises ValueError when the text says nothing."""
        text = self.when or self.change or self.ratio or self.budget
        return parse_condition(text or "")

    def windows_for(self, length: timedelta) -> int:
        """In how many windows of a length the condition must hold before it fires."""
        return 1 if self.for_ is None else _windows(self.for_, length)

    def windows_kept(self, length: timedelta) -> int:
        """In how many windows the condition must not hold before it is resolved."""
        return 1 if self.keep_firing_for is None else _windows(self.keep_firing_for, length)

    def burn(self) -> Burn:
        """The burn rate of the rule; raises ValueError."""
        match = _BURN.fullmatch(self.burn_rate or "")
        if not match:
            raise ValueError(f"burn rate {self.burn_rate!r}: write it as `14.4 over 1h`")
        return Burn(float(match[1]), window_length(match[2]))

    def allowed(self) -> float:
        """The share of errors that the objective allows; raises ValueError."""
        match = _PERCENT.fullmatch(self.objective or "")
        if not match or not 0 < float(match[1]) < 100:
            raise ValueError(f"objective {self.objective!r}: write a share such as `99.9%`")
        return 1 - float(match[1]) / 100


def parse_condition(text: str) -> Condition:
    """The parts of a condition; raises ValueError."""
    match = _CONDITION.fullmatch(text.strip())
    if not match:
        raise ValueError(
            f"{text!r} is no condition: write an aggregate, one of > < >= <=, and a number with "
            "its unit, such as `p95 > 2s`"
        )
    return Condition(
        aggregate=match["aggregate"],
        operator=_operator(match["operator"]),
        number=float(match["number"]),
        unit=match["unit"],
        other=match["other"],
        divisor=match["divisor"],
        period=match["period"],
    )


def _operator(text: str) -> Operator:
    return next(operator for operator in get_args(Operator) if operator == text)


def _windows(text: str, length: timedelta) -> int:
    match = _FOR.fullmatch(text)
    if match:
        return int(match[1])
    try:
        return math.ceil(window_length(text) / length)
    except ValueError:
        raise ValueError(f"{text!r}: write `3 windows`, or a length such as 5m") from None
