"""Episodes of a rule held against incidents: which were found, how soon, and false alarms.

Precision, recall and detection time as Google's SRE workbook has them (chapter 5, "Alerting
considerations"), counted by what overlaps as Hundman et al. do (Detecting Spacecraft Anomalies
Using LSTMs and Nonparametric Dynamic Thresholding, KDD 2018): a moment in common
suffices, and many episodes over one incident find it once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from nilo_cli.backtest.figures import Range
from nilo_cli.backtest.incidents import Incident
from nilo_cli.rerun.episodes import Episode


@dataclass(frozen=True)
class Score:
    """What became of the incidents that began while there were windows, and of the episodes.

    Attributes:
        delays: of each incident found, microseconds from its start to the first firing; rising.
        missed: the lines of those not found.
        outside: how many of the file began at other times, and are not counted.
        episodes: how many fired in the range.
        true: how many of these overlap an incident.
    """

    delays: list[int]
    missed: list[int]
    outside: int
    episodes: int
    true: int

    @property
    def incidents(self) -> int:
        """How many incidents count."""
        return len(self.delays) + len(self.missed)

    @property
    def recall(self) -> float | None:
        """Incidents found, of all; None without an incident."""
        return len(self.delays) / self.incidents if self.incidents else None

    @property
    def precision(self) -> float | None:
        """Episodes that overlap an incident, of all; None without an episode."""
        return self.true / self.episodes if self.episodes else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both (van Rijsbergen 1979); None when one of them is."""
        if self.precision is None or self.recall is None:
            return None
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    def delay(self, share: float) -> int | None:
        """The delay that this share of the incidents found was found within (nearest rank), µs."""
        place = max(1, math.ceil(share * len(self.delays)))
        return self.delays[place - 1] if self.delays else None

    @property
    def median(self) -> float | None:
        """The median of the delays, µs."""
        return median(self.delays) if self.delays else None


def scored(
    episodes: Sequence[Episode],
    incidents: Sequence[Incident],
    within: Range,
    slack: int = 0,
) -> Score:
    """Hold episodes against incidents.

    Args:
        episodes: of one rule; those that fired before the range find incidents, but do not count.
        incidents: all that are known; those that do not count make episodes true as well.
        within: the range; incidents count that began where it has windows.
        slack: so long before its start and after its end an incident may be met as well, µs.
    """
    first, last = within.covered
    overlapping = _Overlapping(episodes, slack)
    true, delays, missed = set[int](), list[int](), list[int]()
    for incident in incidents:
        places = overlapping.with_(incident)
        true.update(places)
        if first <= incident.start < last:
            fired = min((episodes[place].fired for place in places), default=None)
            if fired is None:
                missed.append(incident.line)
            else:
                delays.append(max(0, fired - incident.start))
    counted = {place for place, each in enumerate(episodes) if each.fired > within.since}
    outside = len(incidents) - len(delays) - len(missed)
    return Score(sorted(delays), missed, outside, len(counted), len(counted & true))


class _Overlapping:
    """Finds the episodes that have a moment and all labels in common with an incident."""

    def __init__(self, episodes: Sequence[Episode], slack: int) -> None:
        self._since = np.array([each.since for each in episodes], np.int64)
        self._end = np.array([each.end for each in episodes], np.int64)
        self._labels = [json.loads(each.series) for each in episodes]
        self._slack = slack

    def with_(self, incident: Incident) -> list[int]:
        """Their places."""
        found = (self._since <= incident.end + self._slack) & (
            self._end > incident.start - self._slack
        )
        wanted = incident.labels.items()
        return [
            place
            for place in np.flatnonzero(found).tolist()
            # A label that the series of the rule do not have says nothing against it.
            if all(self._labels[place].get(name, value) == value for name, value in wanted)
        ]
