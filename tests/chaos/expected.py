"""What the windows must be: brute force over the raw events, one by one, in plain Python.

It shares no code with the engine. What a metric is, it reads from the catalogue; what an event
is, from Kafka. Rules (ARCHITECTURE, "Time"):

- the watermark of a source partition before a row is the largest time of its earlier rows less
  the allowed disorder, never below 0;
- the windows of a metric are made of panes, as long as the greatest common divisor of their
  lengths; a row is late for the metric when the end of its pane plus the grace is not after the
  watermark before the row;
- a row stands for `sample_rate` rows; a row without the metric's value is not the metric's.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from nilo_schemas.catalogue import Catalogue, Condition, Metric
from tests.chaos.reading import Values

SECOND = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class WindowKey(NamedTuple):
    """Which window: the length as the catalogue writes it, the start in microseconds."""

    metric: str
    length: str
    start: int
    dimensions: tuple[tuple[str, str], ...]


class Row(NamedTuple):
    """One event as it lies in Kafka."""

    partition: int
    offset: int
    values: Values


@dataclass
class Window:
    """All rows of a window, as they are; `values` counts each value in the unit's small parts."""

    count: int = 0
    errors: int = 0
    values: Counter[int] = field(default_factory=Counter)
    sources: dict[int, list[int]] = field(default_factory=dict)

    def total(self) -> int:
        """The sum of all values."""
        return sum(value * count for value, count in self.values.items())

    def quantile(self, share: float) -> int:
        """The value of rank ceil(share * n), at least 1."""
        rank = max(math.ceil(share * self.values.total()), 1)
        for value in sorted(self.values):
            rank -= self.values[value]
            if rank <= 0:
                return value
        raise AssertionError("no values")


@dataclass
class Expected:
    """The windows of the rows taken in so far, and the rows that came too late for a metric.

    Args:
        bound, grace: of the settings, in seconds.
    """

    catalogue: Catalogue
    topic: str
    bound: float
    grace: float
    windows: dict[WindowKey, Window] = field(default_factory=dict)
    late: set[tuple[int, int]] = field(default_factory=set)
    events: int = 0

    def __post_init__(self) -> None:
        self._newest: dict[int, int] = {}
        self._metrics = [
            (name, metric, lengths_of(metric))
            for name, metric in self.catalogue.of_event(self.topic).items()
        ]

    def take(self, rows: Iterable[Row]) -> None:
        """Add rows; those of a partition come in the order of their offsets."""
        for row in rows:
            self._take(row)

    def _take(self, row: Row) -> None:
        time = to_microseconds(row.values["time"])
        newest = self._newest.get(row.partition)
        watermark = 0 if newest is None else max(newest - round(self.bound * SECOND), 0)
        for name, metric, lengths in self._metrics:
            if not _belongs(metric, row.values):
                continue
            pane = math.gcd(*lengths.values())
            if time - time % pane + pane + round(self.grace * SECOND) <= watermark:
                self.late.add((row.partition, row.offset))
                continue
            dimensions = tuple(sorted((d, _label(row.values, d)) for d in metric.dimensions))
            for text, length in lengths.items():
                key = WindowKey(name, text, time - time % length, dimensions)
                _add(self.windows.setdefault(key, Window()), metric, row)
        self._newest[row.partition] = time if newest is None else max(newest, time)
        self.events += 1


def lengths_of(metric: Metric) -> dict[str, int]:
    """The tumbling windows of a metric with their lengths in microseconds; 1m is rolled up."""
    rollups = metric.model_dump().get("rollups", []) if "1m" in metric.windows else []
    texts = [*metric.windows, *rollups]
    found = {text: re.fullmatch(r"(\d+)([smhd])", text) for text in texts}
    return {
        text: int(match[1]) * _SECONDS[match[2]] * SECOND for text, match in found.items() if match
    }


def to_microseconds(time: datetime) -> int:
    """Microseconds since 1970."""
    passed = time - EPOCH
    return (passed.days * 86_400 + passed.seconds) * SECOND + passed.microseconds


def _belongs(metric: Metric, values: Values) -> bool:
    if any(values[name] is None for name in metric.value_fields()):
        return False
    return _all_hold(metric.where, values)


def _all_hold(conditions: Mapping[str, Condition], values: Values) -> bool:
    return all(_holds(condition, values, name) for name, condition in conditions.items())


def _holds(condition: Condition, values: Values, name: str) -> bool:
    value = _field(values, name)
    if value is None:
        return condition.present is False
    if condition.present is False or value in condition.excluded():
        return False
    if condition.differs_from is not None:
        other = _field(values, condition.differs_from)
        if other is None or other == value:
            return False
    return (
        (not condition.any_of or value in condition.any_of)
        and (condition.gte is None or value >= condition.gte)
        and (condition.lte is None or value <= condition.lte)
    )


def _field(values: Values, name: str) -> Any:
    if name.startswith("attributes."):
        return values["attributes"].get(name.removeprefix("attributes."))
    return values[name]


def _label(values: Values, name: str) -> str:
    value = _field(values, name)
    return "" if value is None else str(value)


def _add(window: Window, metric: Metric, row: Row) -> None:
    weight = row.values["sample_rate"]
    window.count += weight
    if metric.error_when and _all_hold(metric.error_when, row.values):
        window.errors += weight
    if metric.value is not None:
        (name,) = metric.value_fields()
        window.values[row.values[name]] += weight
    first_last = window.sources.setdefault(row.partition, [row.offset, row.offset])
    first_last[1] = row.offset
