"""What Alertmanager is told and when: all that fires, every minute, and for a while what is over.

As Prometheus does it: an alert that is not sent again counts as resolved there at its `endsAt`.
Grouping, waits and repeats are Alertmanager's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from nilo_consumers.alerts.notify.notification import Notes, Notification, Outcome, Standing
from nilo_consumers.alerts.notify.receivers import Receiver
from nilo_schemas.alerts import Alert, AlertState
from nilo_schemas.notified import Notified, Told

RESEND = timedelta(minutes=1)
HOLDS = 4 * RESEND  # so long an alert fires there when it is not sent again
RESOLVED_FOR = timedelta(minutes=5)


class Pushes:
    """The desk of an Alertmanager; see `Desk`.

    It is sent what no silence, acknowledgement or inhibition of ours holds back. What it has been
    sent goes on being sent until it is over, suppressed or not: left out, Alertmanager would call
    it resolved, which is not so.
    """

    def __init__(self, receiver: Receiver, notes: Iterable[Notified]) -> None:
        self.suppressed = 0
        self._receiver = receiver
        self._told = {told.fingerprint: told for note in notes for told in note.told}
        self._last: datetime | None = None
        self._quiet: set[tuple[str, datetime]] = set()

    @property
    def known(self) -> set[str]:
        """The fingerprints of the alerts of which it knows."""
        return set(self._told)

    def take(self, standings: Iterable[Standing], now: datetime) -> Notification | None:
        """All that is to be sent, at once when it has changed and else every minute."""
        wanted = [each for each in standings if self._receiver.wants(each.alert)]
        self._count(wanted)
        found = [each for each in (self._alert(standing, now) for standing in wanted) if each]
        told = {fingerprint: each for alert, each in found for fingerprint in [alert.fingerprint]}
        changed = told != self._told
        if not changed and self._last is not None and now < self._last + RESEND:
            return None
        notes = {note.key: note for note in [self._note(told, now)]} if changed else {}
        self._told, self._last = told, now
        alerts = tuple(alert for alert, _ in found)
        ends = {alert.fingerprint: _end(alert, each, now) for alert, each in found}
        return Notification(
            "", self._receiver.name, now, alerts, ({},), notes=notes, earlier={}, ends=ends
        )

    def settle(self, notification: Notification, outcome: Outcome, now: datetime) -> Notes:
        """Take in what became of it: whatever that was, it may be sent again at any time."""
        if outcome is not Outcome.SENT:
            self._last = None
        return {}

    def _count(self, wanted: list[Standing]) -> None:
        quiet = {
            (alert.fingerprint, alert.starts_at)
            for alert, suppression in wanted
            if alert.active and suppression.quiet and alert.fingerprint not in self._told
        }
        self.suppressed += len(quiet - self._quiet)
        self._quiet = quiet

    def _alert(self, standing: Standing, now: datetime) -> tuple[Alert, Told] | None:
        """What it is told of an alert; None: nothing, or nothing any more."""
        alert, before = standing.alert, self._told.get(standing.alert.fingerprint)
        if alert.active:
            if not (standing.shown or (before and before.state != AlertState.RESOLVED)):
                return None
            return alert, _told(alert, AlertState.FIRING, before, now)
        if before is None:
            return None
        told = _told(alert, AlertState.RESOLVED, before, now)
        return (alert, told) if now < told.since + RESOLVED_FOR else None

    def _note(self, told: dict[str, Told], now: datetime) -> Notified:
        return Notified(
            receiver=self._receiver.name,
            group={},
            id=f"{self._receiver.name}-{now.isoformat()}",
            phase="sent",
            at=now,
            told=list(told.values()),
            before=[],
        )


def _told(alert: Alert, state: AlertState, before: Told | None, now: datetime) -> Told:
    if before is not None and before.state == state:
        return before
    return Told(fingerprint=alert.fingerprint, state=state, since=now)


def _end(alert: Alert, told: Told, now: datetime) -> datetime:
    """When Alertmanager is to take it as over."""
    if told.state != AlertState.RESOLVED:
        return now + HOLDS
    # What has become pending again was over when we saw it so.
    ended = alert.ends_at or told.since
    return max(alert.starts_at, min(ended, now))
