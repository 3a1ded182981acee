"""How alerts are written: a line, a row of a table, a page; and as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nilo_cli.output import Row, printable
from nilo_consumers.alerts.suppress import Suppression
from nilo_consumers.alerts.wanted import SEVERITIES
from nilo_schemas.alerts import Alert

COLUMNS = (
    "fingerprint", "state", "severity", "rule", "labels", "value", "threshold", "since", "quiet",
)  # fmt: skip
_NAMES = 16  # letters of the names on a page


def graver(alert: Alert) -> tuple[int, float, str]:
    """The order of alerts in a list: by severity, then the newest first."""
    severity = SEVERITIES.index(alert.severity)
    return -severity, -alert.starts_at.timestamp(), alert.fingerprint


def row(alert: Alert, suppression: Suppression) -> Row:
    """An alert in a table."""
    return {
        "fingerprint": alert.fingerprint,
        "state": alert.state.value,
        "severity": alert.severity,
        "rule": alert.rule,
        "labels": _pairs(alert.labels),
        "value": alert.value,
        "threshold": alert.threshold,
        "since": f"{alert.starts_at:%m-%d %H:%M:%S}",
        "quiet": _told(suppression),
    }


def as_json(alert: Alert, suppression: Suppression) -> dict[str, Any]:
    """An alert and what suppresses it, for programs."""
    return alert.model_dump(mode="json", exclude_none=True) | {
        "silenced_by": suppression.silenced_by,
        "inhibited_by": suppression.inhibited_by,
        "acknowledged_by": suppression.acknowledged_by,
    }


def page(alert: Alert, suppression: Suppression) -> str:
    """Everything of an alert, a line for each thing that is known."""
    values = {name: getattr(alert, name) for name in Alert.model_fields if name != "summary"}
    known = {name: value for name, value in values.items() if value not in (None, "", [], {})}
    lines = [printable(alert.summary), ""]
    for name, value in {**known, "quiet": _told(suppression) or "no"}.items():
        lines += _lines(name.replace("_", " "), value)
    return "\n".join(lines)


def _lines(name: str, value: Any) -> list[str]:
    values = [_text(each) for each in value] if isinstance(value, list) else [_text(value)]
    heads = [name] + [""] * (len(values) - 1)
    both = zip(heads, values, strict=True)
    return [f"{head:{_NAMES}} {printable(text)}".rstrip() for head, text in both]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return _pairs(value)
    if hasattr(value, "first_offset"):
        return f"{value.topic}/{value.partition} @ {value.first_offset} to {value.last_offset}"
    if hasattr(value, "isoformat"):
        return f"{value:%Y-%m-%d %H:%M:%S}Z"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_text(value)}" for name, value in sorted(values.items()))


def _told(suppression: Suppression) -> str:
    """Why nobody is told of an alert; empty when somebody is."""
    found = [f"silenced by {identity}" for identity in suppression.silenced_by]
    found += [f"hidden by {fingerprint}" for fingerprint in suppression.inhibited_by]
    if suppression.acknowledged_by:
        found.append(f"acknowledged by {suppression.acknowledged_by}")
    return ", ".join(found)
