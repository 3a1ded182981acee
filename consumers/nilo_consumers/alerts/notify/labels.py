"""An alert as Alertmanager has it: labels, annotations, and its webhook's body."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from nilo_consumers.alerts.notify.notification import Notification
from nilo_schemas.alerts import Alert
from nilo_schemas.notified import group_key

_FOREIGN = re.compile(r"[^a-zA-Z0-9_]")
_OWN = ("alertname", "severity", "metric")
_NEVER = "0001-01-01T00:00:00Z"  # Go's zero time, which says that an alert has not ended


def labels_of(alert: Alert) -> dict[str, str]:
    """The labels of an alert; they do not change while it lives.

    A dimension called alertname, severity or metric becomes `exported_<name>`, as in Prometheus;
    characters that Alertmanager does not take become `_`.
    """
    labels = {"alertname": alert.rule, "severity": alert.severity, "metric": alert.metric}
    for dimension, value in sorted(alert.labels.items()):
        name = _FOREIGN.sub("_", dimension) or "_"
        name = f"_{name}" if name[0].isdigit() else name
        name = f"exported_{name}" if name in _OWN else name
        while name in labels:
            name += "_"
        labels[name] = value
    return {name: value for name, value in labels.items() if value}


def annotations_of(alert: Alert) -> dict[str, str]:
    """What else people are told of it; nothing empty."""
    found = {
        "summary": alert.summary,
        "description": alert.reason,
        "advice": alert.advice,
        "runbook_url": alert.runbook,
        "state": alert.state.value,
        "evidence": "; ".join(
            f"{each.topic}/{each.partition} {each.first_offset}-{each.last_offset}"
            for each in alert.sources
        ),
        "samples": ", ".join(alert.samples),
    }
    return {name: text for name, text in found.items() if text}


def status_of(alerts: Iterable[Alert]) -> str:
    """`firing` when any of them is firing or without data, else `resolved`."""
    return "firing" if any(alert.active for alert in alerts) else "resolved"


def webhook_body(notification: Notification, external_url: str) -> dict[str, Any]:
    """The body of Alertmanager's webhook, version 4; `nilo` holds the alerts with their evidence.

    A summary of several groups has no labels of a group and the key of none.
    """
    labels = [labels_of(alert) for alert in notification.alerts]
    one = notification.groups[0] if len(notification.groups) == 1 else {}
    return {
        "version": "4",
        "groupKey": group_key(notification.receiver, one),
        "truncatedAlerts": 0,
        "status": status_of(notification.alerts),
        "receiver": notification.receiver,
        "groupLabels": one,
        "commonLabels": common(labels),
        "commonAnnotations": common(map(annotations_of, notification.alerts)),
        "externalURL": external_url,
        "alerts": [_webhook_alert(alert, external_url) for alert in notification.alerts],
        "nilo": {"id": notification.id, "groups": list(notification.groups)},
    }


def _webhook_alert(alert: Alert, external_url: str) -> dict[str, Any]:
    return {
        "status": status_of([alert]),
        "labels": labels_of(alert),
        "annotations": annotations_of(alert),
        "startsAt": _text(alert.starts_at),
        "endsAt": _NEVER if alert.active else _text(alert.ends_at or alert.time),
        "generatorURL": external_url,
        "fingerprint": alert.fingerprint,
        "nilo": alert.model_dump(mode="json"),
    }


def alertmanager_body(notification: Notification, external_url: str) -> list[dict[str, Any]]:
    """The body of `POST /api/v2/alerts`."""
    return [
        {
            "labels": labels_of(alert),
            "annotations": annotations_of(alert),
            "startsAt": _text(alert.starts_at),
            "endsAt": _text(notification.ends[alert.fingerprint]),
            "generatorURL": external_url,
        }
        for alert in notification.alerts
    ]


def common(each: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The pairs that all have."""
    first, *others = [set(one.items()) for one in each] or [set()]
    return dict(sorted(first.intersection(*others)))


def _text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
