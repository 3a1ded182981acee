"""What a sink tells of itself: counters, lag and health."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.registry import Collector


class SinkMetrics:
    """The counters of one sink process, in a registry of their own; safe from any thread.

    `trouble` is None while all is well, else one line that says what the sink waits for.
    """

    def __init__(self, sink: str, group: str) -> None:
        self.registry = CollectorRegistry()
        self.trouble: str | None = "not yet connected"
        self._sink, self._group = sink, group
        self._consumed = self._counter("nilo_consumed_events", "Messages read from Kafka")
        self._stored = self._counter("nilo_stored_events", "Rows that the store has taken")
        self._dead = self._counter("nilo_dead_letters", "Messages that did not decode", "reason")
        self._lag = Gauge(
            "kafka_consumergroup_lag",
            "Messages between what is stored and the end of the partition",
            ["consumergroup", "topic", "partition"],
            registry=self.registry,
        )

    def _counter(self, name: str, about: str, *more: str) -> Counter:
        return Counter(name, about, ["sink", "topic", *more], registry=self.registry)

    def consumed(self, topic: str, messages: int) -> None:
        """Count messages read from Kafka."""
        self._consumed.labels(self._sink, topic).inc(messages)

    def stored(self, topic: str, rows: int) -> None:
        """Count rows that the store has taken."""
        self._stored.labels(self._sink, topic).inc(rows)

    def dead(self, topic: str, reason: str) -> None:
        """Count a message that did not decode."""
        self._dead.labels(self._sink, topic, reason).inc()

    def lag(self, topic: str, partition: int, messages: int) -> None:
        """Set the lag of a partition."""
        self._lag.labels(self._group, topic, str(partition)).set(messages)

    def show_all_groups(self, lag: Collector) -> None:
        """Show the lag that a collector knows of all groups, instead of that of this sink's own."""
        self.registry.unregister(self._lag)
        self.registry.register(lag)

    def forget_lag(self) -> None:
        """Drop the lag of all partitions: another process has them now."""
        self._lag.clear()
