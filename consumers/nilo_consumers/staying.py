"""Waiting without leaving the consumer group: for a store, a server, or the next try."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from confluent_kafka import Consumer, Message

from nilo_consumers.backoff import Backoff
from nilo_consumers.metrics import SinkMetrics
from nilo_schemas.errors import NiloError

FETCH = 10_000  # messages
POLL = 0.1  # seconds
# A wait may be so long before it pauses the consumer, which throws away what was fetched ahead.
PATIENCE = 1.0  # seconds
T = TypeVar("T")
log = logging.getLogger(__name__)


class PartitionsLostError(Exception):
    """The partitions of the work in hand belong to another process now: drop it."""


class StoppedError(Exception):
    """The sink is to stop while it waits for a store that fails."""


class Staying:
    """Waits of one consumer, which is polled meanwhile so that it stays in its group.

    Args:
        consumer: paused while a wait is long.
        stop: a wait for the next try ends when it is set.
        metrics: `trouble` says what is waited for.
    """

    def __init__(
        self, name: str, consumer: Consumer, stop: threading.Event, metrics: SinkMetrics
    ) -> None:
        self._name, self._consumer = name, consumer
        self._stop, self._metrics = stop, metrics
        self._epoch, self._paused = 0, False
        self._overflow: list[Message] = []

    def forget(self) -> None:
        """The partitions are others now: what was read is dropped, and waits end."""
        self._epoch += 1
        self._overflow.clear()

    def overflow(self) -> list[Message]:
        """The messages that came during waits, handed over once."""
        messages, self._overflow = self._overflow, []
        return messages

    def retried(self, work: Callable[[], T]) -> T:
        """The result of `work`, tried until it is there.

        Raises:
            PartitionsLostError: a rebalance took the partitions away meanwhile.
            StoppedError: the sink is to stop and the last try failed.
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
                self._rest(backoff.next(), error)
            else:
                if failed:
                    self._metrics.trouble = None
                self.resume()
                return result

    def result(self, future: Future[T]) -> T:
        """What a call into the store brings, as `future.result()`.

        Raises:
            PartitionsLostError: a rebalance took the partitions away; the call goes on.
        """
        wait([future], PATIENCE)
        epoch = self._epoch
        while not future.done():
            self._poll(POLL, epoch)
        return future.result()

    def resume(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            self._consumer.resume(self._consumer.assignment())

    def _rest(self, seconds: float, error: NiloError) -> None:
        self._metrics.trouble = str(error)
        log.warning("%s waits %.1f s: %s", self._name, seconds, error)
        if self._stop.is_set():
            raise StoppedError
        until, epoch = time.monotonic() + seconds, self._epoch
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set():
            self._poll(min(POLL, left), epoch)

    def _poll(self, seconds: float, epoch: int) -> None:
        self._consumer.pause(self._consumer.assignment())
        self._paused = True
        # A message that comes in spite of the pause is kept.
        self._overflow += self._consumer.consume(FETCH, seconds)
        if self._epoch != epoch:
            raise PartitionsLostError
