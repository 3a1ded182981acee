"""Alerts on /metrics of the Prometheus sink."""

from __future__ import annotations

import pytest

from nilo_consumers import asking
from nilo_schemas.alerts import AlertState
from nilo_schemas.settings import Settings
from tests.alerts import an_alert, publish
from tests.integration.programs import wait_for
from tests.integration.sinking import Running, sinking

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("alerts", "alerts.state", "alerts.silences", "metrics.windows"),
]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "EVERY", 0.2)


def alerts(sink: Running) -> list[dict[str, str]]:
    found = [dict(labels) for (name, labels), value in sink.samples().items() if name == "ALERTS"]
    return sorted(found, key=lambda labels: labels["alertname"])


def number(sink: Running, state: str, severity: str) -> float:
    return sink.samples()["nilo_alerts", frozenset({"state": state, "severity": severity}.items())]


def test_alerts_are_shown_as_prometheus_shows_its_own_and_are_gone_when_resolved(
    settings: Settings,
) -> None:
    silent = an_alert(rule="Quiet", state=AlertState.NO_DATA, labels={"a.b": "x", "severity": "y"})
    soon = an_alert(rule="Soon", state=AlertState.PENDING, severity="warning")
    past = an_alert(rule="Past", state=AlertState.INACTIVE)
    publish(settings, [an_alert(), silent, soon, past])
    with sinking("prometheus", settings) as sink:
        wait_for("alerts", lambda: len(alerts(sink)) == 3)
        own = {"severity": "critical", "alertstate": "firing"}
        assert alerts(sink) == [
            own | {"alertname": "LlmSlow", "model": "atlas"},
            own | {"alertname": "Quiet", "a_b": "x", "dim_severity": "y"},
            {
                "alertname": "Soon",
                "alertstate": "pending",
                "severity": "warning",
                "model": "atlas",
            },
        ]
        assert number(sink, "firing", "critical") == 1
        assert number(sink, "no_data", "critical") == 1
        assert number(sink, "pending", "warning") == 1
        assert number(sink, "firing", "info") == 0
        publish(settings, [an_alert(state=AlertState.RESOLVED, revision=3)])
        wait_for("the end", lambda: "LlmSlow" not in {each["alertname"] for each in alerts(sink)})
        assert number(sink, "firing", "critical") == 0
