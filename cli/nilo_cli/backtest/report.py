"""What versions of rules would have done, for programs: JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nilo_cli.backtest.figures import Figures, Range
from nilo_cli.backtest.run import Version
from nilo_cli.backtest.score import Score
from nilo_cli.rerun.episodes import Episode
from nilo_schemas.alerts import fingerprint_of
from nilo_schemas.rules import KEYS, Rule
from nilo_stream_processors.engine.detect.transition import time_of

SECOND = 1e6


@dataclass(frozen=True)
class Outcome:
    """What a version of a rule would have done; `score` where there are labelled incidents."""

    version: Version
    within: Range
    figures: Figures
    score: Score | None

    def summary(self) -> dict[str, Any]:
        """The figures that a sweep shows too; times in seconds."""
        found = self.figures
        told = {
            "firings": found.firings,
            "pages_per_day": _rounded(found.pages_per_day),
            "flaps": found.flaps,
        }
        return told | (_scored(self.score) if self.score else {})

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        version, found = self.version, self.figures
        return {
            "condition": condition_of(version.rule),
            "rule_hash": version.rule.hash,
            "series": version.series,
            "windows": version.seen.windows,
            "judged": version.counting.judged,
            "days": _rounded(found.days),
            **self.summary(),
            "held": found.held,
            "carried": found.carried,
            "capped": version.capped,
            "firing_seconds": found.time / SECOND,
            "longest_seconds": found.longest / SECOND,
            "median_seconds": found.median and found.median / SECOND,
            "noisiest": [
                {
                    "labels": json.loads(each.series),
                    "firings": each.firings,
                    "seconds": each.time / SECOND,
                }
                for each in found.noisiest
            ],
            "episodes": [self._episode(each) for each in self._fired()],
        }

    def _fired(self) -> list[Episode]:
        mine = [each for each in self.version.episodes.found if each.fired > self.within.since]
        return sorted(mine, key=lambda each: (each.fired, each.series))

    def _episode(self, episode: Episode) -> dict[str, Any]:
        labels = json.loads(episode.series)
        return {
            "fingerprint": fingerprint_of(self.version.rule.name, labels),
            "labels": labels,
            "starts_at": time_of(episode.since).isoformat(),
            "fired_at": time_of(episode.fired).isoformat(),
            "ends_at": time_of(episode.end).isoformat() if episode.resolved else None,
        }


def condition_of(rule: Rule) -> str:
    """What a rule holds windows against, in one line: `when: p95 > 2s, for: 3 windows`."""
    given: Mapping[str, Any] = rule.model_dump(by_alias=True, exclude_unset=True)
    options = [name for key in KEYS.values() for name in sorted(key[1])]
    names = dict.fromkeys([*options, "window", "for", "keep_firing_for", "min_count"])
    rest = [f"{name}: {given[name]}" for name in names if given.get(name) is not None]
    return ", ".join([f"{rule.key}: {given[rule.key]}", *rest])


def _scored(score: Score) -> dict[str, Any]:
    delays = {"median": score.median, "p90": score.delay(0.9), "max": score.delay(1.0)}
    return {
        "incidents": score.incidents,
        "found": len(score.delays),
        "missed": score.missed,
        "outside": score.outside,
        "true_episodes": score.true,
        "precision": _rounded(score.precision),
        "recall": _rounded(score.recall),
        "f1": _rounded(score.f1),
        "seconds_to_detect": {
            name: None if delay is None else delay / SECOND for name, delay in delays.items()
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
