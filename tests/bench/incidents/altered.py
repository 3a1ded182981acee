"""What incidents make of the events that they bear on."""

from __future__ import annotations

import numpy as np

from tests.bench.incidents.calls import Calls
from tests.bench.incidents.labels import NAMES, Labels
from tests.bench.incidents.noise import Noise
from tests.bench.incidents.scene import WINDOW, Floats, Incident, Ints, Kind, window_of
from tests.bench.incidents.usual import Draw

Topic = Calls | Labels
_MEASURED = {Kind.LATENCY: "duration", Kind.DRIFT: "duration"} | {
    Kind.ERRORS: "error_ratio",
    Kind.COST: "cost",
}


def alter(topic: Topic, draw: Draw, incident: Incident, noise: Noise) -> None:
    """Have an incident bear on the events of a day, and mark those that it has changed.

    Of a silence the last events before it are marked, those of the length of a window.
    """
    if incident.kind is Kind.SILENCE:
        draw.kept[draw.of_member(incident.member, incident.begin, incident.end)] = False
        rows = draw.of_member(incident.member, incident.begin - WINDOW, incident.begin)
    else:
        rows = draw.of_member(incident.member, incident.begin, incident.end)
        rows = _changed(topic, draw, rows, incident, noise)
    draw.mark[rows] = incident.number


def _changed(topic: Topic, draw: Draw, rows: Ints, incident: Incident, noise: Noise) -> Ints:
    name = _MEASURED.get(incident.kind, NAMES[incident.label])
    times = draw.time[rows]
    step = incident.size * noise.of(name, incident.member, times)
    usual = topic.usual(name, incident.member, window_of(times))
    rng = np.random.default_rng([incident.number, draw.day])
    # So many of the others must change for a share to rise by the step.
    struck = rows[rng.random(len(rows)) < step / (1 - usual)]
    match incident.kind:
        case Kind.ERRORS:
            return _set(draw.values["failed"], struck, True)
        case Kind.MIX:
            return _set(draw.values["label"], struck, incident.label)
        case Kind.COST:
            draw.values["cost"][rows] *= 1 + step / usual
        case _:
            draw.values["duration"][rows] += step * _risen(incident, times)
    return rows


def _risen(incident: Incident, times: Ints) -> Floats:
    """How much of its size an incident has reached."""
    ramp = max(incident.full - incident.begin, 1)
    risen: Floats = np.clip((times - incident.begin) / ramp, 0, 1)
    return risen if incident.kind is Kind.DRIFT else np.ones(len(times))


def _set(values: Ints, rows: Ints, value: int) -> Ints:
    """Set what is not so already; returns the rows that have changed."""
    rows = rows[values[rows] != value]
    values[rows] = value
    return rows
