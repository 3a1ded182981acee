"""Notifications made up: to try templates on, and to show that a receiver is reached."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from nilo_consumers.alerts.notify.notification import Notification
from nilo_schemas.alerts import Alert, AlertState, fingerprint_of
from nilo_schemas.envelope import uuid7

RULE = "NiloTestNotification"
_LABELS = {"model": "made-up"}


def samples(receiver: str) -> list[Notification]:
    """One of each kind: firing, without data, resolved, and a summary of two groups."""
    now = datetime.now(UTC)
    firing, silent, resolved = (
        _alert(state, now) for state in (AlertState.FIRING, AlertState.NO_DATA, AlertState.RESOLVED)
    )
    one = ({"alertname": RULE},)
    told = [((firing,), one), ((firing, silent), one), ((resolved,), one), ((firing,), one * 2)]
    return [Notification(uuid7(), receiver, now, alerts, groups) for alerts, groups in told]


def sample(receiver: str) -> Notification:
    """One that fires; for an Alertmanager for a minute."""
    found = samples(receiver)[0]
    ends = {alert.fingerprint: found.at + timedelta(minutes=1) for alert in found.alerts}
    return Notification(found.id, receiver, found.at, found.alerts, found.groups, ends=ends)


def _alert(state: AlertState, now: datetime) -> Alert:
    fingerprint = fingerprint_of(RULE, _LABELS)
    values: dict[str, Any] = {
        "id": f"{fingerprint}-1",
        "fingerprint": fingerprint,
        "rule": RULE,
        "kind": "threshold",
        "severity": "info",
        "state": state,
        "previous": AlertState.PENDING,
        "revision": 1,
        "time": now,
        "starts_at": now - timedelta(minutes=1),
        "ends_at": now if state == AlertState.RESOLVED else None,
        "labels": _LABELS,
        "metric": "llm.duration",
        "aggregate": "p95",
        "unit": "seconds",
        "window": "1m",
        "window_start": now - timedelta(minutes=1),
        "window_end": now,
        "value": 2.5,
        "threshold": 2.0,
        "summary": "a test of this receiver; nothing is wrong",
        "reason": "somebody has typed `nilo sink notify --test`",
        "rule_hash": "0" * 16,
        "sources": [],
    }
    return Alert.model_validate(values)
