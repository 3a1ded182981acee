"""Why nobody is told of an alert: silenced, acknowledged, or hidden by the alert that explains it.

Pure, as Alertmanager has it: neither changes the alert itself. So what people do never bears on
detection, and a replay of the windows gives the same transitions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from nilo_schemas.alerts import Alert, Matcher, Silence


@dataclass(frozen=True)
class Suppression:
    """The ids of the silences that match, the fingerprints of what hides it, and who has it."""

    silenced_by: tuple[str, ...] = ()
    inhibited_by: tuple[str, ...] = ()
    acknowledged_by: str | None = None

    @property
    def quiet(self) -> bool:
        """Whether nobody is told."""
        return bool(self.silenced_by or self.inhibited_by or self.acknowledged_by)


def suppression(
    alert: Alert, active: Iterable[Alert], silences: Iterable[Silence], now: datetime
) -> Suppression:
    """What suppresses an alert at a time.

    Args:
        active: the alerts that are firing or without data, this one among them or not.
    """
    held = [silence for silence in silences if holds(silence, alert, now)]
    taken_on = [silence.created_by for silence in held if silence.fingerprint is not None]
    return Suppression(
        tuple(sorted(silence.id for silence in held if silence.fingerprint is None)),
        tuple(sorted(cause.fingerprint for cause in active if hides(cause, alert))),
        taken_on[0] if taken_on else alert.acknowledged_by,
    )


def holds(silence: Silence, alert: Alert, now: datetime) -> bool:
    """Whether a silence is in force and matches; an acknowledgement is that of one episode."""
    if now < silence.starts_at or (silence.ends_at is not None and now >= silence.ends_at):
        return False
    if silence.fingerprint is not None:
        return (silence.fingerprint, silence.episode) == (alert.fingerprint, alert.starts_at)
    labels = matchable(alert)
    return bool(silence.matchers) and all(matches(one, labels) for one in silence.matchers)


def matchable(alert: Alert) -> dict[str, str]:
    """The labels that matchers see: a dimension does not stand in for the alert's own ones."""
    own = {"alertname": alert.rule, "severity": alert.severity, "metric": alert.metric}
    return {**alert.labels, **own}


def matches(matcher: Matcher, labels: dict[str, str]) -> bool:
    """Whether labels meet a matcher; a label that is not there is empty, as in Alertmanager."""
    value = labels.get(matcher.name, "")
    if matcher.is_regex:
        found = re.fullmatch(matcher.value, value) is not None
    else:
        found = value == matcher.value
    return found == matcher.is_equal


def hides(cause: Alert, alert: Alert) -> bool:
    """Whether an alert explains another one; none explains itself, nor what explains it."""
    if alert.rule not in cause.hides or not cause.active or cause.fingerprint == alert.fingerprint:
        return False
    return all(cause.labels.get(name, "") == alert.labels.get(name, "") for name in cause.equal)
