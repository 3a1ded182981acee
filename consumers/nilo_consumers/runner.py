"""The runner of all sinks: from Kafka through the decoder into the sink's store."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime

from confluent_kafka import KafkaException, Message, TopicPartition

from nilo_consumers.batch import Batch, Holding
from nilo_consumers.dead import DeadLetters
from nilo_consumers.decoding import DeadLetter, Decoder, TopicPart, by_partition
from nilo_consumers.dlq.redriven import Redriven, redriven
from nilo_consumers.group import consumer_config, group_id, refused
from nilo_consumers.member import Member
from nilo_consumers.metrics import SinkMetrics
from nilo_consumers.positions import starts
from nilo_consumers.refused import RefusedRows
from nilo_consumers.sink import Sink
from nilo_consumers.staying import POLL
from nilo_consumers.writer import Writer
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

LAG_EVERY = 1.0  # seconds
log = logging.getLogger(__name__)


class Runner:
    """Runs one sink until `stop` is set: one thread, the caller's, reads; the sink has its own.

    While a batch is written the next one is read and decoded, and no more than that. Whatever a
    rebalance takes away is dropped: its offsets are not in the store, so the next owner reads it
    again; and what the sink's thread still writes of it, that owner finds in the store.
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
        self._member = Member(
            f"sink {sink.name}",
            consumer_config(settings, group_id(settings, sink.name)),
            stop,
            metrics,
            forget=self._forget,
        )
        self._consumer, self._staying = self._member.consumer, self._member.staying
        self._decoder = Decoder(settings.topic_prefix, Registry(settings).schema)
        self._dead = DeadLetters(settings, sink.name)
        self._writer = Writer(sink, RefusedRows(settings, sink.name, metrics).bury)
        self._held: dict[str, Holding] = {}
        self._under_way: tuple[Batch, Future[int]] | None = None
        self._positions: dict[TopicPart, int] = {}
        self._stored: dict[TopicPart, int] = {}
        self._settings = settings
        self._redriven: Redriven = {}
        self._ready = False
        self._lag_at = 0.0

    def run(self) -> None:
        """Run until `stop` is set, then write what is held, commit and leave the group.

        Raises:
            NiloError: a terminal error of the sink, or Kafka refuses us.
        """
        try:
            self._member.join(self._topics)
            while not self._stop.is_set():
                self._member.attempt(self._turn)
            self._member.attempt(self._flush_all)
        except KafkaException as error:
            raise refused(error.args[0]) from error
        finally:
            self._member.leave()
            self._writer.close()

    def _turn(self) -> None:
        """One round: position new partitions, read, hold, write what is due."""
        self._position()
        for part, messages in by_partition(self._member.read(POLL)).items():
            self._accept(part, messages)
        if self._under_way and self._under_way[1].done():
            self._settle()
        for holding in list(self._held.values()):
            if holding.due():
                self._flush(holding)
        self._report_lag()

    # Reading

    def _accept(self, part: TopicPart, messages: list[Message]) -> None:
        """Decode the messages of one partition, deliver its dead letters, hold its rows."""
        start = self._positions.get(part)
        if start is None or (messages[0].offset() or 0) < start:
            return
        chunk, dead = self._staying.retried(lambda: self._decoder.chunk(part, start, messages))
        self._bury(dead)
        if gone := self._redriven.get(part):
            chunk = chunk.without(gone)
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
            self._staying.retried(lambda: self._dead.send(dead))
        for letter in dead:
            self._metrics.dead(letter.topic, letter.reason)

    # Writing

    def _flush_all(self) -> None:
        for holding in list(self._held.values()):
            self._flush(holding)
        self._settle()

    def _flush(self, holding: Holding) -> None:
        """Begin to write what is held of one topic, once the write before it is done."""
        self._settle()
        batch = holding.take()
        if batch is not None:
            self._under_way = batch, self._writer.write(batch, self._positions)

    def _settle(self) -> None:
        """End the write under way, if there is one.

        1. rows and offsets are in the store, tried until it takes them
        2. the group's offsets, for tools that show lag; the truth is in the store
        """
        if self._under_way is None:
            return
        batch, first = self._under_way
        self._under_way = None
        begun = [first]

        def written() -> int:
            future = begun.pop() if begun else self._writer.write(batch, self._positions)
            return self._staying.result(future)

        rows = self._staying.retried(written)  # 1
        self._metrics.stored(batch.topic, rows)
        self._commit(batch)  # 2

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

    # Partitions

    def _forget(self) -> None:
        """Drop all that is read and not written."""
        self._held.clear()
        self._under_way = None
        self._positions.clear()
        self._stored.clear()
        self._metrics.forget_lag()

    def _position(self) -> None:
        """Start newly assigned partitions where the store says."""
        parts = self._member.assigned()
        if parts is None:
            return
        found = self._staying.retried(lambda: self._starts(parts))
        self._positions, self._stored = dict(found), dict(found)
        self._member.start(found)
        if not self._ready:
            self._metrics.trouble = None
            self._ready = True
            self._on_ready()

    def _starts(self, parts: list[TopicPart]) -> dict[TopicPart, int]:
        back = self._sink.look_back
        since = None if back is None else datetime.now(UTC) - back
        stored = self._staying.result(self._writer.connect(parts))
        # Behind the connecting: from then on `nilo dlq redrive` sends nothing that this sink has
        # yet to come to.
        self._redriven = redriven(self._settings)
        return starts(self._consumer, parts, stored, since)

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
