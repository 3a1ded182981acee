"""A receiver of alerts on a line of seconds, drawn with letters: what happens, what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from nilo_consumers.alerts.notify.groups import Groups
from nilo_consumers.alerts.notify.notification import Notification, Outcome, Standing
from nilo_consumers.alerts.notify.receivers import Receiver
from nilo_consumers.alerts.suppress import Suppression
from nilo_schemas.alerts import AlertState
from nilo_schemas.notified import Notified
from tests.alerts import an_alert

T0 = datetime(2026, 1, 1, tzinfo=UTC)
STATES = {
    "F": AlertState.FIRING,
    "N": AlertState.NO_DATA,
    "P": AlertState.PENDING,
    "R": AlertState.RESOLVED,
    "I": AlertState.INACTIVE,
}
QUIET = {
    "s": Suppression(silenced_by=("s-1",)),
    "h": Suppression(inhibited_by=("f-1",)),
    "a": Suppression(acknowledged_by="ada"),
}
SECONDS = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> int:
    """`1m30s` in seconds."""
    total, number = 0, ""
    for letter in text:
        if letter.isdigit():
            number += letter
        else:
            total, number = total + int(number) * SECONDS[letter], ""
    return total


class Line:
    """One receiver on a line of seconds.

    An event is `5m a=F`: the alert a of the rule A fires from then on; further letters say what
    suppresses it. `5m b=-` takes it off the board. A notification is drawn as `5m Aa:F Ab:R`.
    """

    def __init__(self, **receiver: Any) -> None:
        given = {"name": "r", "webhook": "http://h/", "repeat_interval": "4h"} | receiver
        self.receiver = Receiver.model_validate(given)
        self.groups = Groups(self.receiver, [])
        self.topic: dict[str, Notified] = {}
        self.standings: dict[str, Standing] = {}
        self.sent: list[str] = []
        self.ids: list[str] = []
        self.outcome = Outcome.SENT
        self.now = 0
        self.revision = 0
        self.on_sending: Callable[[Notification, Outcome], None] = lambda *_: None

    def run(self, events: Iterable[str], until: str) -> list[str]:
        """Play the events, looking every second, later every fifth; what was sent meanwhile."""
        at: dict[int, list[str]] = {}
        for event in events:
            moment, *changes = event.split()
            at.setdefault(seconds(moment), []).extend(changes)
        before = len(self.sent)
        while self.now <= seconds(until):
            for change in at.pop(self.now, []):
                self.change(change)
            self.look()
            self.now += 1 if self.now < 1200 else 5
        assert not at
        return self.sent[before:]

    def change(self, text: str) -> None:
        if text == "restart":
            self.groups = Groups(self.receiver, self.topic.values())
            return
        if text.startswith("!"):
            self.outcome = Outcome(text[1:])
            return
        name, _, letters = text.partition("=")
        if letters == "-":
            del self.standings[name]
            return
        self.revision += 1
        alert = an_alert(
            rule=name[0].upper(), labels={"name": name}, state=STATES[letters[0]],
            revision=self.revision,
        )  # fmt: skip
        self.standings[name] = Standing(alert, QUIET[letters[1]] if letters[1:] else Suppression())

    def look(self) -> None:
        now = T0 + timedelta(seconds=self.now)
        while due := self.groups.take(self.standings.values(), now):
            self.write(due.notes)
            if due.alerts:
                self.sent.append(self.drawn(due))
                self.ids.append(due.id)
                self.on_sending(due, self.outcome)
                self.write(self.groups.settle(due, self.outcome, now))
                if self.outcome is not Outcome.SENT:
                    return

    def write(self, notes: Any) -> None:
        for key, note in notes.items():
            if note is None:
                self.topic.pop(key, None)
            else:
                self.topic[key] = note

    def drawn(self, due: Notification) -> str:
        letters = {state: letter for letter, state in STATES.items()}
        alerts = " ".join(
            f"{a.labels['name']}:{letters[a.state]}"
            for a in sorted(due.alerts, key=lambda a: a.labels["name"])
        )
        minutes, rest = divmod(self.now, 60)
        summary = f" ({len(due.groups)} groups)" if len(due.groups) > 1 else ""
        return f"{minutes}m{rest:02} {alerts}{summary}"
