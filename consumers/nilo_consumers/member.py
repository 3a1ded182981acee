"""One process in its consumer group: what it reads, and what a rebalance gives and takes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from nilo_consumers.decoding import TopicPart
from nilo_consumers.group import TERMINAL, refused
from nilo_consumers.metrics import SinkMetrics
from nilo_consumers.staying import FETCH, PartitionsLostError, Staying, StoppedError

TELL_EVERY = 10.0  # seconds, of the same trouble with the brokers
log = logging.getLogger(__name__)


class Member:
    """A consumer that fetches from new partitions only when `start` has said where.

    Args:
        name: what it is called in the log.
        config: of the consumer.
        forget: called when what was read and not done belongs to other processes now.
    """

    def __init__(
        self,
        name: str,
        config: Mapping[str, Any],
        stop: threading.Event,
        metrics: SinkMetrics,
        *,
        forget: Callable[[], None],
    ) -> None:
        self.consumer = Consumer(dict(config))
        self.staying = Staying(name, self.consumer, stop, metrics)
        self._name, self._forget_work = name, forget
        self._assigned: list[TopicPart] | None = None
        self._told: tuple[str, float] = ("", 0.0)

    def join(self, topics: Sequence[str]) -> None:
        """Join the group; raises KafkaException."""
        self.consumer.subscribe(list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke)

    def attempt(self, work: Callable[[], None]) -> None:
        """Do some work; when a rebalance or a stop ends it, drop what it was about."""
        try:
            work()
        except (PartitionsLostError, StoppedError):
            self._forget()

    def read(self, timeout: float, most: int = FETCH) -> list[Message]:
        """What has come, no later than after so many seconds.

        Raises:
            BrokerRefusedError: an error that librdkafka cannot cure.
        """
        messages = self.staying.overflow()
        messages += self.consumer.consume(most, 0 if messages else timeout)
        good = [message for message in messages if message.error() is None]
        if len(good) < len(messages):
            self._check([m.error() for m in messages if m.error() is not None])
        return good

    def assigned(self) -> list[TopicPart] | None:
        """The partitions of the last assignment while `start` has not been called, else None."""
        return self._assigned

    def start(self, offsets: Mapping[TopicPart, int]) -> None:
        """Fetch from these partitions, each from its offset on."""
        self._assigned = None
        self.consumer.assign([TopicPartition(*part, at) for part, at in offsets.items()])
        # A partition that was paused when it was taken away and comes back is paused still.
        self.consumer.resume(self.consumer.assignment())

    def leave(self) -> None:
        """Leave the group."""
        self.consumer.close()

    def _on_assign(self, consumer: Consumer, parts: list[TopicPartition]) -> None:
        # Nothing is fetched before it is known where to start, which may take its time.
        consumer.assign([])
        self._forget()
        self._assigned = [(part.topic, part.partition) for part in parts]

    def _on_revoke(self, _consumer: Consumer, _parts: list[TopicPartition]) -> None:
        self._forget()
        self._assigned = None

    def _forget(self) -> None:
        self.staying.forget()
        self._forget_work()

    def _check(self, errors: list[Any]) -> None:
        """Broken connections heal by themselves in librdkafka; what it calls fatal does not."""
        for error in errors:
            if error.fatal() or error.code() in TERMINAL:
                raise refused(error)
            self._tell(error.str())

    def _tell(self, trouble: str) -> None:
        before, now = self._told, time.monotonic()
        if trouble != before[0] or now - before[1] >= TELL_EVERY:
            self._told = trouble, now
            log.warning("%s: %s", self._name, trouble)
