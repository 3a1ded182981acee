"""A sweep as a table and as a chart: what each value would have done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nilo_cli.backtest.report import SECOND, Outcome
from nilo_cli.backtest.score import Score
from nilo_cli.backtest.sweep import Axis, Point, plain, unit_of, value_of
from nilo_schemas.rules import Rule

if TYPE_CHECKING:
    from nilo_cli.charts import Chart, Panel, Series

_TIMES = ((86_400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_Value = Callable[[Outcome], float | None]


@dataclass(frozen=True)
class Swept:
    """A rule, the numbers that were swept, and what came of each combination of values."""

    rule: Rule
    axes: Sequence[Axis]
    points: Sequence[Point]
    outcomes: Mapping[str, Outcome]

    def outcome(self, point: Point) -> Outcome:
        """What one combination of values would have done."""
        return self.outcomes[point.rule.hash]

    @property
    def scored(self) -> bool:
        """Whether there were labelled incidents."""
        return any(each.score for each in self.outcomes.values())

    @property
    def columns(self) -> list[str]:
        """Those of the table."""
        found = [axis.field for axis in self.axes] + ["firings", "pages_per_day", "flaps"]
        return found + (
            ["median_seconds_to_detect", "precision", "recall", "f1"] if self.scored else []
        )

    def row(self, point: Point) -> dict[str, Any]:
        """A line of the table; times in seconds."""
        told = self.outcome(point).summary()
        if self.scored:
            told["median_seconds_to_detect"] = told["seconds_to_detect"]["median"]
        return {**self._values(point), "as_written": self._is_own(point), **told}

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        units = {axis.field: unit_of(self.rule, axis.field) for axis in self.axes}
        return {
            "rule": self.rule.name,
            "units": units,
            "rows": [self.row(point) for point in self.points],
        }

    def _values(self, point: Point) -> dict[str, float]:
        pairs = zip(self.axes, point.values, strict=True)
        return {axis.field: float(value) for axis, value in pairs}

    def _is_own(self, point: Point) -> bool:
        """Whether these are the values that the rule has now."""
        pairs = zip(self.axes, point.values, strict=True)
        return all(value_of(self.rule, axis.field) == value for axis, value in pairs)


def chart_of(swept: Swept) -> Chart:
    """The trade-off over the first number; a line for each value of the second, if there is one."""
    from nilo_cli.charts import Chart  # noqa: PLC0415  matplotlib is an extra

    axes = " and ".join(axis.field for axis in swept.axes)
    return Chart(f"{swept.rule.name}: {axes}", list(_panels(swept)))


def _panels(swept: Swept) -> list[Panel]:
    pages: list[tuple[str, _Value]] = [("pages", lambda each: each.figures.pages_per_day)]
    if len(swept.axes) == 1:
        pages.append(("flaps", lambda each: _a_day(each.figures.flaps, each)))
    found = [_panel(swept, pages, " and ".join(name for name, _ in pages) + " per day")]
    if not swept.scored:
        return found
    shares: list[tuple[str, _Value]] = [
        ("precision", _of_score(lambda score: score.precision)),
        ("recall", _of_score(lambda score: score.recall)),
        ("F1", _of_score(lambda score: score.f1)),
    ]
    if len(swept.axes) == 1:
        found.append(_panel(swept, shares, "share", limits=(0, 1.04)))
    else:
        found += [_panel(swept, [each], each[0], limits=(0, 1.04)) for each in shares]
    return [*found, _delay_panel(swept)]


def _delay_panel(swept: Swept) -> Panel:
    median = _of_score(lambda score: score.median)
    delays = [median(each) or 0 for each in swept.outcomes.values()]
    length, unit = next(
        (each for each in _TIMES if max(delays) >= 2 * each[0] * SECOND), _TIMES[-1]
    )

    def delay(outcome: Outcome) -> float | None:
        found = median(outcome)
        return None if found is None else found / SECOND / length

    return _panel(swept, [("median time to detect", delay)], f"time to detect ({unit})")


def _of_score(value: Callable[[Score], float | None]) -> _Value:
    return lambda outcome: value(outcome.score) if outcome.score else None


def _panel(
    swept: Swept,
    values: Sequence[tuple[str, _Value]],
    y_label: str,
    limits: tuple[float, float] | None = None,
) -> Panel:
    from nilo_cli.charts import Panel  # noqa: PLC0415  as above

    axis = swept.axes[0]
    unit, own = unit_of(swept.rule, axis.field), value_of(swept.rule, axis.field)
    label = f"{axis.field} ({unit})" if unit else axis.field
    inside = own is not None and min(axis.values) <= own <= max(axis.values)
    marks = [(float(own), "as written")] if own is not None and inside else []
    series = [each for name, value in values for each in _series(swept, name, value)]
    return Panel(series, label, y_label, limits=limits, marks=marks)


def _series(swept: Swept, name: str, value: _Value) -> list[Series]:
    from nilo_cli.charts import Series  # noqa: PLC0415  as above

    groups: dict[str, list[tuple[float, float | None]]] = {}
    for point in swept.points:
        second = "".join(
            f"{axis.field} {plain(each)}"
            for axis, each in zip(swept.axes[1:], point.values[1:], strict=True)
        )
        spot = float(point.values[0]), value(swept.outcome(point))
        groups.setdefault(second or name, []).append(spot)
    ordered = {label: sorted(spots, key=lambda spot: spot[0]) for label, spots in groups.items()}
    return [
        Series(label, [x for x, _ in spots], [y for _, y in spots])
        for label, spots in ordered.items()
    ]


def _a_day(count: int, outcome: Outcome) -> float | None:
    days = outcome.figures.days
    return count / days if days else None
