"""Ways to work off a topic that are measured in turns; ratios are of runs of the same turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

from tests.bench.measure import MEGABYTE, Outcome
from tests.bench.report import ratio
from tests.bench.servers import Say

Ways = Mapping[str, Callable[[], Outcome]]
# The way of the upper number, that of the lower one, and what is to be reached.
Pairs = Mapping[str, tuple[str, str, float]]


class Turns:
    """All ways so many times, one after the other."""

    def __init__(self, ways: Ways, rounds: int, say: Say) -> None:
        self._turns = [self._turn(ways, number, say) for number in range(1, rounds + 1)]

    @staticmethod
    def _turn(ways: Ways, number: int, say: Say) -> dict[str, Outcome]:
        turn: dict[str, Outcome] = {}
        for name, way in ways.items():
            turn[name] = way()
            rate = turn[name].run.per_core
            say(f"turn {number}, {name}: {rate:,.0f} events per CPU second")
        return turn

    def ratios(self, pairs: Pairs) -> list[dict[str, Any]]:
        """Of events per CPU second, the median of the turns."""
        return [
            ratio(
                name,
                median(turn[upper].run.per_core / turn[lower].run.per_core for turn in self._turns),
                goal,
            )
            for name, (upper, lower, goal) in pairs.items()
        ]

    def figures(self) -> dict[str, float]:
        """Rates and memory of each way."""
        figures: dict[str, float] = {}
        for way in self._turns[0]:
            runs = [turn[way].run for turn in self._turns]
            figures[f"{way}_per_core_s"] = round(median(run.per_core for run in runs))
            figures[f"{way}_per_s"] = round(median(run.per_second for run in runs))
            figures[f"{way}_rss_mb"] = max(run.rss for run in runs) // MEGABYTE
        return figures

    def windows(self, others: Iterable[Outcome]) -> tuple[int, int]:
        """How many were compared, in these and other runs, and how many differ."""
        outcomes = [one for turn in self._turns for one in turn.values()] + list(others)
        return sum(one.windows for one in outcomes), sum(one.differences for one in outcomes)
