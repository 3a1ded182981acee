"""What the processors count, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, generate_latest

from nilo_schemas.alerts import Alert
from nilo_schemas.errors import Reason
from nilo_schemas.reports import TotalsByTopic

SINK = "processors"
# Dead letters with a measure of their own; each counts once.
_MEASURES = {Reason.LATE: "late", Reason.FUTURE: "future"}


class Counters:
    """The counters of one worker, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.totals: TotalsByTopic = TotalsByTopic()
        self._consumed = self._counter(
            "nilo_consumed_events", "Messages read from a topic", "sink", "topic"
        )
        self._dead = self._counter(
            "nilo_dead_letters", "Messages that could not be used", "sink", "topic", "reason"
        )
        self._late = self._counter(
            "nilo_late_events", "Events that came after the grace of their window", "topic"
        )
        self._windows = self._counter(
            "nilo_windows_published", "Windows published to metrics.windows", "final"
        )

        self._capped = self._counter(
            "nilo_capped_events", "Events counted in __other__ by the cap on series", "metric"
        )

        self._alerts = self._counter(
            "nilo_alert_transitions", "Transitions of alerts", "rule", "state"
        )
        self._capped_alerts = self._counter(
            "nilo_capped_alerts", "Alerts not begun: their rule has too many", "rule"
        )

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self._registry)

    def consumed(self, topic: str, messages: int) -> None:
        """Messages were read and taken in."""
        self._consumed.labels(SINK, topic).inc(messages)
        self.totals["events_in", topic] += messages

    def dead_letter(self, topic: str, reason: Reason) -> None:
        """A message went to the dead letters."""
        self._dead.labels(SINK, topic, str(reason)).inc()
        self.totals[_MEASURES.get(reason, "dead_letters"), topic] += 1
        if reason is Reason.LATE:
            self._late.labels(topic).inc()

    def windows(self, *, final: int, provisional: int) -> None:
        """Windows were published."""
        self._windows.labels("true").inc(final)
        self._windows.labels("false").inc(provisional)

    def capped(self, rows: Mapping[str, int]) -> None:
        """Events of these metrics were counted in `__other__`."""
        for metric, count in rows.items():
            self._capped.labels(metric).inc(count)

    def alerts(self, alerts: Iterable[Alert]) -> None:
        """Transitions of alerts were found."""
        for alert in alerts:
            self._alerts.labels(alert.rule, str(alert.state)).inc()

    def capped_alerts(self, rules: Mapping[str, int]) -> None:
        """Rules had too many alerts to begin these."""
        for rule, count in rules.items():
            self._capped_alerts.labels(rule).inc(count)

    def text(self) -> bytes:
        """All counters in Prometheus' text format."""
        return generate_latest(self._registry)
