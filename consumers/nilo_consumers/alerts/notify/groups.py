"""When and of what a receiver is told: groups of alerts, their waits, and the rate limit.

Alertmanager's words with Alertmanager's meanings, but that nothing waits for a tick: news is told
`group_wait` after it came, and `group_interval` after the last notification of its group.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from nilo_consumers.alerts.notify.notification import (
    UNSURE,
    Notes,
    Notification,
    Outcome,
    Standing,
)
from nilo_consumers.alerts.notify.receivers import Receiver
from nilo_schemas.alerts import Alert
from nilo_schemas.notified import Notified, Told, group_key

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class _Group:
    """A group as it stands: what the receiver knows of it, and what it should know."""

    labels: dict[str, str]
    alerts: tuple[Alert, ...]
    known: tuple[Told, ...]
    told: tuple[Told, ...]
    news: bool
    since: datetime


class Groups:
    """The desk of a receiver that is told of groups; see `Desk`.

    Args:
        notes: what the receiver was told so far. One that is still being sent may have arrived or
            not: it counts as sent until its group interval is over, and as not sent from then on.
    """

    def __init__(self, receiver: Receiver, notes: Iterable[Notified]) -> None:
        self.suppressed = 0
        self._receiver = receiver
        self._notes = {note.key: note for note in notes}
        self._since: dict[str, datetime] = {}  # when the news of a group came
        self._not_before: dict[str, datetime] = {}
        self._begun = deque(sorted({note.id: note.at for note in self._notes.values()}.values()))
        self._quiet: set[tuple[str, datetime]] = set()

    @property
    def known(self) -> set[str]:
        """The fingerprints of the alerts of which the receiver may know."""
        return {told.fingerprint for note in self._notes.values() for told in _perhaps(note)}

    def take(self, standings: Iterable[Standing], now: datetime) -> Notification | None:
        """What is due now; the last of a minute's notifications takes in all that is due."""
        groups = self._groups(standings, now)
        if silent := self._silent(groups, now):
            return silent
        ready = [key for key, group in groups.items() if self._due(key, group, now)]
        left = self._left(now)
        if not ready or not left:
            return None
        ready.sort(key=lambda key: (groups[key].since, key))
        return self._begin([groups[key] for key in (ready if left == 1 else ready[:1])], now)

    def settle(self, notification: Notification, outcome: Outcome, now: datetime) -> Notes:
        """Take in what became of a notification; what is to be written about it."""
        if outcome is Outcome.UNCERTAIN:
            return {}
        if outcome is Outcome.SENT:
            notes: Notes = {
                key: note.model_copy(update={"phase": "sent", "before": [], "sent_at": note.at})
                for key, note in notification.notes.items()
                if note is not None
            }
        else:
            notes = notification.earlier
            if self._begun:
                self._begun.pop()
        if outcome is Outcome.REFUSED:
            later = now + self._receiver.group_interval
            self._not_before |= dict.fromkeys(notes, later)
        self._note(notes)
        return notes

    def _groups(self, standings: Iterable[Standing], now: datetime) -> dict[str, _Group]:
        """Every group of which anything is known or to be told."""
        known = self.known
        members: dict[str, list[Standing]] = defaultdict(list)
        labels = {key: note.group for key, note in self._notes.items()}
        quiet = set()
        for standing in standings:
            alert = standing.alert
            if not (alert.active or alert.fingerprint in known) or not self._receiver.wants(alert):
                continue
            group = self._receiver.group_of(alert)
            key = group_key(self._receiver.name, group)
            members[key].append(standing)
            labels[key] = group
            if alert.active and not standing.shown and alert.fingerprint not in known:
                quiet.add((alert.fingerprint, alert.starts_at))
        self.suppressed += len(quiet - self._quiet)
        self._quiet = quiet
        return {key: self._group(key, labels[key], members[key], now) for key in labels}

    def _group(
        self, key: str, labels: dict[str, str], members: list[Standing], now: datetime
    ) -> _Group:
        note = self._notes.get(key)
        known = {told.fingerprint: told for told in self._known(note, now)}
        told: list[Told] = []
        alerts: list[Alert] = []
        news = False
        for alert, suppression in sorted(members, key=_age):
            standing, before = Standing(alert, suppression), known.get(alert.fingerprint)
            if standing.shown:
                changed = before is None or before.state != alert.state or not before.sure
                news |= changed
                alerts.append(alert)
                told.append(_told(alert, now) if before is None or changed else before)
            elif standing.over and before is not None:
                if self._receiver.send_resolved:
                    alerts.append(alert)
                    news = True
            elif before is not None:
                told.append(before)
        since = self._since.setdefault(key, now) if news else self._since.pop(key, now)
        return _Group(labels, tuple(alerts), tuple(known.values()), tuple(told), news, since)

    def _known(self, note: Notified | None, now: datetime) -> Iterable[Told]:
        """What the receiver knows, a sending of unknown end counted as sent until it is time."""
        if note is None:
            return ()
        unsure = note.phase == "sending" and now >= self._quiet_until(note)
        return _either(note) if unsure else note.told

    def _quiet_until(self, note: Notified) -> datetime:
        interval = self._receiver.group_interval
        return note.at + (max(interval, UNSURE) if note.phase == "sending" else interval)

    def _due(self, key: str, group: _Group, now: datetime) -> bool:
        note = self._notes.get(key)
        if now < self._not_before.get(key, now) or (note and now < self._quiet_until(note)):
            return False
        if group.news:
            again = note is not None and note.phase == "sending"
            return again or now >= group.since + self._receiver.group_wait
        told_at = note.sent_at if note else None
        again = told_at is not None and now >= told_at + self._receiver.repeat_interval
        return again and bool(group.alerts)

    def _silent(self, groups: dict[str, _Group], now: datetime) -> Notification | None:
        """What is to be noted without a word: alerts that ended so, and groups that are over."""
        notes: dict[str, Notified | None] = {}
        for key, note in self._notes.items():
            group = groups[key]
            if group.news or group.alerts:
                continue
            over = now >= self._quiet_until(note)
            if not group.told and over:
                notes[key] = None
            elif len(group.told) < len(group.known) and (note.phase == "sent" or over):
                notes[key] = note.model_copy(
                    update={"phase": "sent", "told": list(group.told), "before": []}
                )
        self._note(notes)
        return Notification("", self._receiver.name, now, notes=notes) if notes else None

    def _left(self, now: datetime) -> int:
        """How many notifications the rate limit allows now."""
        while self._begun and self._begun[0] <= now - MINUTE:
            self._begun.popleft()
        return max(0, self._receiver.rate_limit - len(self._begun))

    def _begin(self, groups: list[_Group], now: datetime) -> Notification:
        name = self._receiver.name
        keys = [group_key(name, group.labels) for group in groups]
        earlier: Notes = {key: self._notes.get(key) for key in keys}
        number = _id(keys, groups, earlier)
        notes = [
            Notified(
                receiver=name,
                group=group.labels,
                id=number,
                phase="sending",
                at=now,
                told=list(group.told),
                before=list(group.known),
                sent_at=earlier_note.sent_at if earlier_note else None,
            )
            for group, earlier_note in zip(groups, earlier.values(), strict=True)
        ]
        begun = Notification(
            number,
            name,
            now,
            alerts=tuple(alert for group in groups for alert in group.alerts),
            groups=tuple(group.labels for group in groups),
            notes={note.key: note for note in notes},
            earlier=earlier,
        )
        self._begun.append(now)
        self._note(begun.notes)
        return begun

    def _note(self, notes: Notes) -> None:
        for key, note in notes.items():
            if note is None:
                self._notes.pop(key, None)
            else:
                self._notes[key] = note


def _perhaps(note: Notified) -> list[Told]:
    """What the receiver may know."""
    return [*note.told, *note.before]


def _either(note: Notified) -> list[Told]:
    """What the receiver knows whether it was sent or not; sure is only what is the same in both."""
    told, before = ({each.fingerprint: each for each in some} for some in (note.told, note.before))
    return [
        each if told.get(name) == before.get(name) else each.model_copy(update={"sure": False})
        for name, each in (told | before).items()
    ]


def _told(alert: Alert, now: datetime) -> Told:
    return Told(fingerprint=alert.fingerprint, state=alert.state, since=now)


def _id(keys: list[str], groups: list[_Group], earlier: Notes) -> str:
    """The same for the same news after the same notification: 32 hex digits of SHA-256."""
    last = [note and note.sent_at and note.sent_at.isoformat() for note in earlier.values()]
    states = [
        [alert.fingerprint, alert.state.value, alert.starts_at.isoformat()]
        for group in groups
        for alert in group.alerts
    ]
    return hashlib.sha256(json.dumps([keys, last, states]).encode()).hexdigest()[:32]


def _age(standing: Standing) -> tuple[datetime, str]:
    return standing.alert.starts_at, standing.alert.fingerprint
