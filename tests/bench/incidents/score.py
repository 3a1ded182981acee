"""What was found, how soon, and what was cried of besides."""

from __future__ import annotations

from dataclasses import dataclass, field

from nilo_schemas.alerts import Alert, AlertState
from tests.bench.incidents.scene import A_DAY, Incident, Ints, Kind, Sizes, window_of
from tests.bench.incidents.stream import Marks
from tests.bench.stream import micros

# An alert that begins so many windows after an incident in the same series is its echo at most.
ECHO = 6
# An incident is to be found in so many windows, the first that it fills being the first.
IN_TIME = 3
# The metrics of a member of a topic: as many series.
_METRICS = {
    each.value.topic: sorted(
        {
            name
            for kind in Kind
            if kind.value.topic == each.value.topic
            for name in kind.value.metrics
        }
    )
    for each in Kind
}
Series = tuple[str, str]


@dataclass
class Score:
    """What became of each incident, and the false alarms.

    `delays` is by incident, in windows: 1 is the first that it fills at its full size, 0 the one
    before, which it bears on in part. `shown` says of each alert that found one whether an altered
    event lies in its evidence.
    """

    delays: dict[int, int] = field(default_factory=dict)
    shown: list[bool] = field(default_factory=list)
    false: dict[str, int] = field(default_factory=dict)
    clean_days: float = 0.0


class Scorer:
    """Holds alerts against incidents."""

    def __init__(
        self, sizes: Sizes, names: dict[str, list[str]], incidents: list[Incident]
    ) -> None:
        self._by_series: dict[Series, list[Incident]] = {}
        self._sizes, self._names, self._incidents = sizes, names, incidents
        for incident in incidents:
            topic = incident.kind.value.topic
            for metric in incident.kind.value.metrics:
                place = metric, names[topic][incident.member]
                self._by_series.setdefault(place, []).append(incident)

    def score(self, alerts: list[Alert], marks: Marks) -> Score:
        """All that there is to say of a run's transitions."""
        score = Score(clean_days=self._clean_days())
        for alert in alerts:
            window = _window(alert)
            if not _begins(alert) or window < self._sizes.warm_up * A_DAY:
                continue
            incident = self._at(alert, window)
            if incident is None:
                score.false[alert.rule] = score.false.get(alert.rule, 0) + 1
            elif alert.rule == incident.kind.value.rule and window in incident.windows:
                score.delays.setdefault(incident.number, window - incident.first + 1)
                score.shown.append(_shows(alert, marks.get(incident.number, {})))
        return score

    def _at(self, alert: Alert, window: int) -> Incident | None:
        """The incident that bears on a series in a window, or has just done so."""
        for incident in self._by_series.get((alert.metric, _member(alert)), []):
            windows = incident.windows
            if windows.start <= window < windows.stop + ECHO:
                return incident
        return None

    def _clean_days(self) -> float:
        scored = (self._sizes.days - self._sizes.warm_up) * A_DAY
        series = sum(len(_METRICS[topic]) * len(names) for topic, names in self._names.items())
        taken = sum(len(each.windows) + ECHO for mine in self._by_series.values() for each in mine)
        return (series * scored - taken) / A_DAY


def _begins(alert: Alert) -> bool:
    """Whether an alert begins to fire; not one that fires on after a silence."""
    return alert.state is AlertState.FIRING and alert.previous is not AlertState.NO_DATA


def _window(alert: Alert) -> int:
    return window_of(micros(alert.time) - 1)


def _member(alert: Alert) -> str:
    (name,) = alert.labels.values()
    return name


def _shows(alert: Alert, marks: dict[int, list[Ints]]) -> bool:
    """Whether an altered event lies in one of the stretches that are the evidence."""
    return any(
        bool(((offsets >= source.first_offset) & (offsets <= source.last_offset)).any())
        for source in alert.sources
        for offsets in marks.get(source.partition, [])
    )
