"""Alerts on /metrics: `ALERTS`, as Prometheus has it for its own rules, and their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nilo_consumers.alerts.board import Board
from nilo_consumers.alerts.wanted import SEVERITIES
from nilo_consumers.asking import Asker
from nilo_consumers.names import labels_of
from nilo_schemas.alerts import Alert, AlertState
from nilo_schemas.settings import Settings

# Prometheus knows two states; whoever looks at firing alerts should see those without data.
_STATES = {
    AlertState.PENDING: "pending",
    AlertState.FIRING: "firing",
    AlertState.NO_DATA: "firing",
}


class AlertsCollector(Collector):
    """The alerts that are pending, firing or without data, as they were read last.

    When the brokers do not answer they stay: nobody is to take an outage of Kafka for an end of
    all alerts.
    """

    def __init__(self, settings: Settings) -> None:
        self._board = Board(settings)
        self._alerts: list[Alert] = []

    def read(self, _asker: Asker) -> None:
        """Read what is new; raises as `Board.refresh` does."""
        self._board.refresh()
        self._alerts = [one for one in self._board.alerts.values() if one.state in _STATES]

    def collect(self) -> Iterator[Metric]:
        """One sample for each alert, and how many there are in each state."""
        alerts = self._alerts
        yield _alerts(alerts)
        yield _counts(alerts)


def _alerts(alerts: Iterable[Alert]) -> Metric:
    family = Metric("ALERTS", "Alerts that are pending or firing, as Prometheus has them", "gauge")
    for alert in alerts:
        own = {
            "alertname": alert.rule,
            "alertstate": _STATES[alert.state],
            "severity": alert.severity,
        }
        dimensions = labels_of(alert.labels)
        labels = {f"dim_{name}" if name in own else name: dimensions[name] for name in dimensions}
        family.add_sample("ALERTS", labels | own, 1.0)
    return family


def _counts(alerts: Iterable[Alert]) -> Metric:
    found = Counter((alert.state.value, str(alert.severity)) for alert in alerts)
    family = GaugeMetricFamily(
        "nilo_alerts", "Alerts by state and severity", labels=["state", "severity"]
    )
    for state in _STATES:
        for severity in SEVERITIES:
            family.add_metric([state.value, severity], found[state.value, severity])
    return family
