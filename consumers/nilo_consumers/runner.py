"""The runner of all sinks: from Kafka through the decoder into the sink's store."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from nilo_consumers.backoff import Backoff
from nilo_consumers.batch import Batch, Holding
from nilo_consumers.dead import DeadLetters
from nilo_consumers.decoding import DeadLetter, Decoder, TopicPart, by_partition
from nilo_consumers.group import TERMINAL, consumer_config, refused
from nilo_consumers.metrics import SinkMetrics
from nilo_consumers.positions import starts
from nilo_consumers.sink import Sink
from nilo_schemas.errors import NiloError
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

FETCH = 10_000  # messages
POLL = 0.1  # seconds
LAG_EVERY = 1.0  # seconds
T = TypeVar("T")
log = logging.getLogger(__name__)


class _PartitionsLostError(Exception):
    """The partitions of the work in hand belong to another process now: drop it."""


class _StoppedError(Exception):
    """The sink is to stop while it waits for a store that fails."""


class Runner:
    """Runs one sink until `stop` is set; one thread, which is the caller's.

    Whatever a rebalance takes away is dropped unwritten: its offsets are not in the store, so the
    next owner reads it again.
    """

    def __init__(
        self,
        sink: Sink,
        settings: Settings,
        topics: Sequence[str],
        *,
        stop: threading.Event,
        metrics: SinkMetrics,
        on_ready: Callable[[], None],
    ) -> None:
        self._sink, self._stop, self._metrics = sink, stop, metrics
        self._topics, self._on_ready = list(topics), on_ready
        self._consumer = Consumer(consumer_config(settings, sink.name))
        self._decoder = Decoder(settings.topic_prefix, Registry(settings).schema)
        self._dead = DeadLetters(settings, sink.name)
        self._held: dict[str, Holding] = {}
        self._positions: dict[TopicPart, int] = {}
        self._stored: dict[TopicPart, int] = {}
        self._assigned: list[TopicPartition] | None = None
        self._overflow: list[Message] = []
        self._epoch = 0
        self._broken = False
        self._ready = False
        self._lag_at = 0.0

    def run(self) -> None:
        """Run until `stop` is set, then write what is held, commit and leave the group.

        Raises:
            NiloError: a terminal error of the sink, or Kafka refuses us.
        """
        try:
            self._consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke
            )
            while not self._stop.is_set():
                self._attempt(self._turn)
            self._attempt(self._flush_all)
        except KafkaException as error:
            raise refused(error.args[0]) from error
        finally:
            self._consumer.close()
            self._sink.close()

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (_PartitionsLostError, _StoppedError):
            self._forget()

    def _turn(self) -> None:
        """One round: position new partitions, read, hold, write what is due."""
        self._position()
        for part, messages in by_partition(self._read(POLL)).items():
            self._accept(part, messages)
        for holding in list(self._held.values()):
            if holding.due():
                self._flush(holding)
        self._report_lag()

    # Reading

    def _read(self, timeout: float) -> list[Message]:
        messages, self._overflow = self._overflow, []
        messages += self._consumer.consume(FETCH, 0 if messages else timeout)
        good = [message for message in messages if message.error() is None]
        if len(good) < len(messages):
            self._check([m.error() for m in messages if m.error() is not None])
        return good

    def _check(self, errors: list[Any]) -> None:
        """Broken connections heal by themselves in librdkafka; what it calls fatal does not."""
        for error in errors:
            if error.fatal() or error.code() in TERMINAL:
                raise refused(error)
            log.warning("sink %s: %s", self._sink.name, error.str())

    def _accept(self, part: TopicPart, messages: list[Message]) -> None:
        """Decode the messages of one partition, deliver its dead letters, hold its rows."""
        start = self._positions.get(part)
        if start is None or (messages[0].offset() or 0) < start:
            return
        chunk, dead = self._retried(lambda: self._decoder.chunk(part, start, messages))
        self._bury(dead)
        self._positions[part] = chunk.span.end
        self._metrics.consumed(part[0], len(messages))
        holding = self._held.setdefault(
            part[0], Holding(part[0], self._sink.policy, time.monotonic)
        )
        if holding.add(chunk):
            self._flush(holding)

    def _bury(self, dead: list[DeadLetter]) -> None:
        # A sink that looks back reads the same messages at each start: it would bury them again.
        if dead and self._sink.look_back is None:
            self._retried(lambda: self._dead.send(dead))
        for letter in dead:
            self._metrics.dead(letter.topic, letter.reason)

    # Writing

    def _flush_all(self) -> None:
        for holding in list(self._held.values()):
            self._flush(holding)

    def _flush(self, holding: Holding) -> None:
        """Write what is held of one topic.

        1. rows and offsets into the store, tried until it takes them
        2. the group's offsets, for tools that show lag; the truth is in the store
        """
        batch = holding.take()
        if batch is None:
            return
        rows = self._retried(lambda: self._write(batch))  # 1
        self._metrics.stored(batch.topic, rows)
        self._commit(batch)  # 2

    def _write(self, batch: Batch) -> int:
        if self._broken:
            self._sink.connect(list(self._positions))
            self._broken = False
        try:
            return self._sink.write(batch)
        except NiloError:
            self._broken = True
            raise

    def _commit(self, batch: Batch) -> None:
        offsets = [TopicPartition(batch.topic, p, span.end) for p, span in batch.spans.items()]
        self._stored.update({(batch.topic, p): span.end for p, span in batch.spans.items()})
        try:
            if self._stop.is_set():
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            log.info("group offsets not committed: %s", error.args[0].str())

    # Trying again

    def _retried(self, work: Callable[[], T]) -> T:
        """The result of `work`, tried until it is there; the consumer stays in the group meanwhile.

        Raises:
            _PartitionsLostError: a rebalance took the partitions away meanwhile.
            _StoppedError: the sink is to stop and the last try failed.
            NiloError: a terminal error.
        """
        backoff, failed = Backoff(), False
        while True:
            try:
                result = work()
            except NiloError as error:
                if not error.transient:
                    raise
                failed = True
                self._wait(backoff.next(), error)
            else:
                if failed:
                    self._resume()
                return result

    def _wait(self, seconds: float, error: NiloError) -> None:
        self._metrics.trouble = str(error)
        log.warning("sink %s waits %.1f s: %s", self._sink.name, seconds, error)
        if self._stop.is_set():
            raise _StoppedError
        epoch = self._epoch
        self._consumer.pause(self._consumer.assignment())
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set():
            # Polling keeps us in the group; a message that came in spite of the pause is kept.
            self._overflow += self._consumer.consume(FETCH, min(POLL, left))
            if self._epoch != epoch:
                raise _PartitionsLostError

    def _resume(self) -> None:
        self._metrics.trouble = None
        self._consumer.resume(self._consumer.assignment())

    # Partitions

    def _on_assign(self, consumer: Consumer, parts: list[TopicPartition]) -> None:
        # Nothing is fetched before the store was asked where to start, which may take its time.
        consumer.assign([])
        self._forget()
        self._assigned = parts

    def _on_revoke(self, _consumer: Consumer, _parts: list[TopicPartition]) -> None:
        self._forget()
        self._assigned = None

    def _forget(self) -> None:
        """Drop all that is read and not written."""
        self._epoch += 1
        self._held.clear()
        self._overflow.clear()
        self._positions.clear()
        self._stored.clear()
        self._metrics.forget_lag()

    def _position(self) -> None:
        """Start newly assigned partitions where the store says."""
        if self._assigned is None:
            return
        parts = [(part.topic, part.partition) for part in self._assigned]
        found = self._retried(lambda: self._starts(parts))
        self._assigned = None
        self._positions, self._stored = dict(found), dict(found)
        self._consumer.assign([TopicPartition(*part, offset) for part, offset in found.items()])
        self._resume()
        self._broken = False
        if not self._ready:
            self._ready = True
            self._on_ready()

    def _starts(self, parts: list[TopicPart]) -> dict[TopicPart, int]:
        back = self._sink.look_back
        since = None if back is None else datetime.now(UTC) - back
        return starts(self._consumer, parts, self._sink.connect(parts), since)

    def _report_lag(self) -> None:
        if time.monotonic() - self._lag_at < LAG_EVERY:
            return
        self._lag_at = time.monotonic()
        for (topic, partition), stored in self._stored.items():
            _, end = self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), cached=True
            )
            if end >= 0:
                self._metrics.lag(topic, partition, max(0, end - stored))
