"""What a receiver is told at once, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol

from nilo_consumers.alerts.suppress import Suppression
from nilo_schemas.alerts import ACTIVE, Alert, AlertState
from nilo_schemas.notified import Notified

# By key of the topic: what is to be written there, None for what is to be forgotten.
Notes = Mapping[str, Notified | None]
# What is not on its way by then is not sent any more.
START_LIMIT = timedelta(seconds=30)
# Until so long after its beginning a sending that nobody knows the end of may still arrive.
UNSURE = timedelta(seconds=90)


class Outcome(StrEnum):
    """What became of a notification.

    FAILED and REFUSED are certainly not delivered; REFUSED would be refused again.
    """

    SENT = "sent"
    FAILED = "failed"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"


class Answer(NamedTuple):
    """An outcome, why (a text without secrets), and the seconds that the receiver asks to wait."""

    outcome: Outcome
    reason: str = ""
    wait: float = 0.0


class Standing(NamedTuple):
    """An alert and what suppresses it now."""

    alert: Alert
    suppression: Suppression

    @property
    def shown(self) -> bool:
        """Whether people are to know of it."""
        return self.alert.active and not self.suppression.quiet

    @property
    def over(self) -> bool:
        """Whether it has ended and people may be told so.

        Who has taken an alert on wants to hear that it is over; who has silenced it does not.
        """
        withheld = self.suppression.silenced_by or self.suppression.inhibited_by
        return self.alert.state in (AlertState.RESOLVED, AlertState.INACTIVE) and not withheld


@dataclass(frozen=True)
class Notification:
    """What a receiver is told at once; without alerts there is only something to note.

    Attributes:
        id: the same for the same news, however often it is sent.
        at: when it was begun.
        groups: the labels of its groups; of several it is the summary.
        notes: what is written before it is sent.
        earlier: what is written when it was certainly not delivered.
        ends: for Alertmanager, by fingerprint: when the alert is or would be over.
    """

    id: str
    receiver: str
    at: datetime
    alerts: tuple[Alert, ...] = ()
    groups: tuple[dict[str, str], ...] = ()
    notes: Notes = field(default_factory=dict)
    earlier: Notes = field(default_factory=dict)
    ends: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def firing(self) -> tuple[Alert, ...]:
        """Those that are not over: firing or without data."""
        return tuple(alert for alert in self.alerts if alert.state in ACTIVE)

    @property
    def resolved(self) -> tuple[Alert, ...]:
        """Those that are over."""
        return tuple(alert for alert in self.alerts if alert.state not in ACTIVE)


class Desk(Protocol):
    """Decides what one receiver is told and when; pure, the time is passed in."""

    suppressed: int  # alerts that it was not told of because they are suppressed

    @property
    def known(self) -> set[str]:
        """The fingerprints of the alerts of which the receiver may know."""
        ...

    def take(self, standings: Iterable[Standing], now: datetime) -> Notification | None:
        """What is due now, and from now on under way; None: nothing."""

    def settle(self, notification: Notification, outcome: Outcome, now: datetime) -> Notes:
        """Take in what became of a notification; what is to be written about it."""
        ...
