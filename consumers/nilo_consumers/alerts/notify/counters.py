"""What the notifier tells of itself on /metrics, by receiver."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from nilo_consumers.alerts.notify.notification import Outcome


class Counters:
    """The counters of one notifier."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, about: str, *more: str) -> Counter:
            return Counter(f"nilo_{name}", about, ["receiver", *more], registry=registry)

        self._ended = counter("notifications", "Notifications by what became of them", "outcome")
        self._folded = counter(
            "notification_groups_rate_limited",
            "Groups of alerts told in a summary, for there were too many in a minute",
        )
        self._suppressed = counter(
            "notification_alerts_suppressed",
            "Alerts not told: silenced, acknowledged or explained by another one",
        )
        self._templates = counter(
            "notification_template_failures", "Texts made by the default template instead"
        )
        self._active = Gauge(
            "nilo_notifier_active", "1: this process notifies; 0: it stands by", registry=registry
        )

    def begin(self, receiver: str) -> None:
        """Show a receiver with nothing counted yet: `rate` needs the zero before the one."""
        for outcome in Outcome:
            self._ended.labels(receiver, outcome.value)
        for each in (self._folded, self._suppressed, self._templates):
            each.labels(receiver)

    def ended(self, receiver: str, outcome: Outcome, number: int = 1) -> None:
        """Count notifications by what became of them."""
        self._ended.labels(receiver, outcome.value).inc(number)

    def folded(self, receiver: str, groups: int) -> None:
        """Count groups that were told in a summary."""
        self._folded.labels(receiver).inc(groups)

    def suppressed(self, receiver: str, alerts: int) -> None:
        """Count alerts that were held back."""
        self._suppressed.labels(receiver).inc(alerts)

    def template_failed(self, receiver: str) -> None:
        """Count a text for which the default template was taken."""
        self._templates.labels(receiver).inc()

    def active(self, *, yes: bool) -> None:
        """Say whether this process notifies."""
        self._active.set(yes)
