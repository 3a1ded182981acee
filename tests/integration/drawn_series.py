"""Series drawn as windows of a minute, what becomes of their alerts, and what people are told.

Windows: # slow, . quick, _ none. A space ends a column: the next one begins when all that was drawn
so far has been told. The column ! has no window: all processes are killed then and start again.
Transitions stand under the window at whose end they come, with the letters of `tests.timelines`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import NamedTuple

from nilo_schemas.alerts import Alert
from nilo_schemas.families import LlmEvent
from tests.timelines import STATES

START = datetime(2026, 1, 1, tzinfo=UTC)
LETTERS = {state.value: letter for letter, state in STATES.items()}
KILL = "!"
SUBJECTS = 17  # so many reach every partition
# OwnSlow looks at all models, OwnSilent at the one that is called mute.
CATALOGUE = """
metrics:
  own.duration:
    description: Calls of {model}
    owner: o
    event: events.llm
    value: duration
    unit: seconds
    dimensions: [model]
    windows: [1m]
    rollups: []
    aggregates: [count, mean]
    alerts:
      - {name: OwnSlow, when: mean > 2s, for: 2 windows, severity: warning}
  own.mute:
    description: Calls of one model
    owner: o
    event: events.llm
    where: {model: mute}
    dimensions: [model]
    windows: [1m]
    rollups: []
    aggregates: [count]
    alerts:
      - {name: OwnSilent, no_data: 3m, severity: critical}
"""


class Drawn(NamedTuple):
    """A series.

    Attributes:
        windows: its windows.
        becomes: the transitions of its one alert; who asks for no calm is told each.
        calm: those of which who asks for calm is told.
    """

    windows: str
    becomes: str
    calm: str

    @property
    def minutes(self) -> str:
        """Its windows, one after another."""
        return self.windows.replace(" ", "").replace(KILL, "")

    @property
    def transitions(self) -> list[tuple[int, str]]:
        """Minutes from START on at which the alert becomes what."""
        minutes = accumulate(int(window not in {" ", KILL}) for window in self.windows)
        return [
            (minute, letter)
            for minute, letter in zip(minutes, self.becomes, strict=False)
            if letter != " "
        ]

    def told(self, column: int, receiver: str) -> str:
        """What a receiver has been told when a column is over: nothing of P and I."""
        end = len(" ".join(self.windows.split()[: column + 1]))
        letters = (self.calm if receiver == "calm" else self.becomes)[:end]
        return "".join(letter for letter in letters if letter in "FNR")


def calls(series: Mapping[str, Drawn], column: int) -> Iterator[LlmEvent]:
    """The events of a column, by model; with beats that let the clock pass its end."""
    drawn = next(iter(series.values())).windows.split()
    widths = [0 if part == KILL else len(part) for part in drawn]
    first = sum(widths[:column])
    last = first + widths[column]
    for minute in range(first, last):
        yield from beats(minute)
        for model, each in series.items():
            window = each.minutes[minute]
            if window != "_":
                yield _call(model, minute * 60 + 30, 3.0 if window == "#" else 0.5)
    yield from beats(last)


def beats(minute: int) -> Iterator[LlmEvent]:
    """An event in every partition soon after a minute has begun."""
    for number in range(SUBJECTS):
        yield _call("beat", minute * 60 + 5, 0.5, f"s{number}")


def _call(model: str, second: int, duration: float, subject: str = "") -> LlmEvent:
    return LlmEvent(
        type="llm.call",
        time=START + timedelta(seconds=second),
        source="test",
        subject=subject or model,
        model=model,
        status="OK",
        duration=timedelta(seconds=duration),
    )


def transitions(alerts: list[Alert]) -> dict[str, list[tuple[int, str]]]:
    """What became of the alerts, as `Drawn` has it, by model; each id once."""
    found: dict[str, list[tuple[int, str]]] = {}
    for alert in {alert.id: alert for alert in alerts}.values():
        minute = int((alert.time - START) / timedelta(minutes=1))
        found.setdefault(alert.labels["model"], []).append((minute, LETTERS[alert.state.value]))
    return found
