"""`nilo bench incidents`: a thousand injected incidents, and which of them the rules find."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from statistics import median
from typing import Any

from nilo_schemas.alerts import Alert
from tests.bench.incidents.altered import Topic
from tests.bench.incidents.calls import Calls
from tests.bench.incidents.labels import NAMES, Labels
from tests.bench.incidents.scene import GOAL_SIZE, QUICK, Incident, Kind, Sizes, schedule
from tests.bench.incidents.score import IN_TIME, Score, Scorer
from tests.bench.incidents.stages import Stages
from tests.bench.incidents.stream import Stream
from tests.bench.report import conclude, ratio
from tests.bench.servers import Say
from tests.bench.versions import versions

FOUND, FALSE_PER_DAY = 0.95, 1 / 30
AN_HOUR = 3_600_000_000
LIBRARIES = ("numpy", "pyarrow")


def main() -> int:
    """Measure and print; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="find injected incidents")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK.incidents} incidents")
    parser.add_argument("--seed", type=int, default=Sizes.seed, help="of all that is random")
    given = parser.parse_args()
    sizes = replace(QUICK if given.quick else Sizes(), seed=given.seed)
    return conclude("incidents", lambda say: measure(sizes, say), as_json=given.json)


def measure(sizes: Sizes, say: Say) -> dict[str, Any]:
    """Make the events, run them through, and score the alerts."""
    run = Run(sizes, say)
    score = run.score()
    return {
        "bench": "incidents",
        "ratios": _ratios(run.incidents, score),
        "table": table(run.incidents, score),
        "figures": _figures(sizes, run, score),
        "versions": versions(*LIBRARIES),
    }


class Run:
    """A run over all days, and what came of it.

    Args:
        piece: the stretch of time whose events are taken in at once, in microseconds.
    """

    def __init__(self, sizes: Sizes, say: Say, piece: int = AN_HOUR) -> None:
        self.sizes = sizes
        self.incidents = schedule(sizes, len(NAMES))
        self._topics: list[Topic] = [Calls(sizes), Labels(sizes)]
        self.streams = [Stream(topic, sizes, self.incidents, piece) for topic in self._topics]
        say("the noise of every series is known")
        self.stages = Stages([stream.topic for stream in self.streams])
        self.alerts: list[Alert] = []
        for day in range(sizes.days):
            for stream in self.streams:
                for pieces in stream.pieces(day):
                    self.alerts += self.stages.take(stream.topic, pieces)
            events = sum(stream.events for stream in self.streams)
            say(f"day {day + 1}: {events:,} events, {len(self.alerts)} transitions")

    def score(self) -> Score:
        """What was found."""
        names = {topic.topic: topic.names for topic in self._topics}
        marks = {number: each for stream in self.streams for number, each in stream.marks.items()}
        return Scorer(self.sizes, names, self.incidents).score(self.alerts, marks)


def table(incidents: list[Incident], score: Score) -> list[dict[str, Any]]:
    """A row for each kind and size."""
    rows = []
    for kind in Kind:
        for size in sorted({each.size for each in incidents if each.kind is kind}):
            mine = [each for each in incidents if each.kind is kind and each.size == size]
            delays = sorted(score.delays[one.number] for one in mine if one.number in score.delays)
            rows.append(
                {
                    "kind": kind.value.name,
                    "noises": size or None,
                    "incidents": len(mine),
                    "in_three_windows": sum(delay <= IN_TIME for delay in delays),
                    "in_two_windows": sum(delay < IN_TIME for delay in delays),
                    "found": len(delays),
                    "delay_median": median(delays) if delays else None,
                    "delay_p90": delays[9 * (len(delays) - 1) // 10] if delays else None,
                }
            )
    return rows


def _ratios(incidents: list[Incident], score: Score) -> list[dict[str, Any]]:
    in_time = {number: delay <= IN_TIME for number, delay in score.delays.items()}
    judged = [in_time.get(each.number, False) for each in incidents if each.size == GOAL_SIZE]
    silent = [in_time.get(each.number, False) for each in incidents if each.kind is Kind.SILENCE]
    false = sum(score.false.values()) / score.clean_days
    return [
        ratio("found in three windows, of three times the noise", _share(judged), FOUND),
        ratio("silences found in three windows", _share(silent), FOUND),
        ratio("false alarms per series-day (at most)", false, FALSE_PER_DAY, most=True),
        ratio("evidence holds an altered event", _share(score.shown), 1.0),
    ]


def _share(shown: list[bool]) -> float:
    return sum(shown) / max(len(shown), 1)


def _figures(sizes: Sizes, run: Run, score: Score) -> dict[str, float]:
    return {
        "events": sum(stream.events for stream in run.streams),
        "windows": run.stages.windows,
        "incidents": len(run.incidents),
        "clean_series_days": round(score.clean_days),
        "true_alerts": len(score.shown),
        **{f"false_alarms_{name}": number for name, number in sorted(score.false.items())},
    }


if __name__ == "__main__":
    sys.exit(main())
