"""What a sink tells of itself: counters, lag and health."""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.registry import Collector

from nilo_schemas.reports import TotalsByTopic
from nilo_schemas.results import MetricWindow


class SinkMetrics:
    """The counters of one sink process, in a registry of their own; safe from any thread.

    `trouble` is None while all is well, else one line that says what the sink waits for.
    """

    def __init__(self, sink: str, group: str) -> None:
        self.registry = CollectorRegistry()
        self.trouble: str | None = "not yet connected"
        self._sink, self._group = sink, group
        self._lock, self._totals = threading.Lock(), TotalsByTopic()
        self._left: dict[tuple[str, int], int] = {}
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
        self._add("events_in", topic, rows)

    def dead(self, topic: str, reason: str) -> None:
        """Count a message that did not decode."""
        self._dead.labels(self._sink, topic, reason).inc()
        self._add("dead_letters", topic, 1)

    def _add(self, measure: str, topic: str, number: int) -> None:
        with self._lock:
            self._totals[measure, topic] += number

    def lag(self, topic: str, partition: int, messages: int) -> None:
        """Set the lag of a partition."""
        self._lag.labels(self._group, topic, str(partition)).set(messages)
        with self._lock:
            self._left[topic, partition] = messages

    def reported(self, prefix: str) -> tuple[TotalsByTopic, dict[str, int]]:
        """What is told of the sink on `events.system`: counts so far, and the lag of each topic.

        Topics are without prefix. Of windows only dead letters are told: each report becomes
        windows, and whoever tells that they were stored would have to tell it for ever.
        """
        with self._lock:
            totals, left = self._totals.copy(), dict(self._left)
        windows = prefix + MetricWindow.kafka_topic
        counts = TotalsByTopic()
        for (measure, topic), number in totals.items():
            if number and (topic != windows or measure == "dead_letters"):
                counts[measure, topic.removeprefix(prefix)] = number
        lag: dict[str, int] = {}
        for (topic, _), messages in left.items():
            if topic != windows:
                name = topic.removeprefix(prefix)
                lag[name] = lag.get(name, 0) + messages
        return counts, lag

    def show_all_groups(self, lag: Collector) -> None:
        """Show the lag that a collector knows of all groups, instead of that of this sink's own."""
        self.registry.unregister(self._lag)
        self.registry.register(lag)

    def forget_lag(self) -> None:
        """Drop the lag of all partitions: another process has them now."""
        self._lag.clear()
        with self._lock:
            self._left.clear()
