"""What became of emitted events: one report for each, and the counts over all of them."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_KEPT_IDS = 10
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """The fate of one event; `error` is None when Kafka has it, and then `offset` is its place."""

    event_id: str
    topic: str
    partition: int | None
    offset: int | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Events delivered, failed for good, and still on their way."""

    delivered: int
    failed: int
    queued: int


OnDelivery = Callable[[Delivery], None]


class Deliveries:
    """Counts the fates of events and hands each to a callback. Safe to use from several threads."""

    def __init__(self, on_delivery: OnDelivery | None = None) -> None:
        self._on_delivery = on_delivery
        self._lock = threading.Lock()
        self._emitted = self._delivered = self._failed = 0
        self._dropped: Counter[tuple[str, str]] = Counter()
        self.failed_ids: list[str] = []
        self.last_error = ""

    @property
    def counts(self) -> Counts:
        """The counts at this moment."""
        with self._lock:
            waiting = self._emitted - self._delivered - self._failed
            return Counts(self._delivered, self._failed, waiting)

    def emitted(self, events: int = 1) -> None:
        """Count events as on their way; a negative number takes them back."""
        with self._lock:
            self._emitted += events

    def dropped(self, source: str, topic: str, events: int = 1) -> None:
        """Count events of a source that were refused or have failed."""
        with self._lock:
            self._dropped[source, topic] += events

    def take_dropped(self) -> Counter[tuple[str, str]]:
        """The events dropped by source and topic; each is handed over once."""
        with self._lock:
            taken, self._dropped = self._dropped, Counter()
            return taken

    def report(self, event_id: str, source: str, error: Any, message: Any) -> None:
        """The delivery callback of librdkafka for one event of a source."""
        if error is None:
            with self._lock:
                self._delivered += 1
        else:
            self._note_failure(event_id, error.str())
            self.dropped(source, message.topic())
        if self._on_delivery is not None:
            self._tell(self._on_delivery, event_id, error, message)

    def _note_failure(self, event_id: str, reason: str) -> None:
        with self._lock:
            self._failed += 1
            self.last_error = reason
            if len(self.failed_ids) < _KEPT_IDS:
                self.failed_ids.append(event_id)

    def _tell(self, on_delivery: OnDelivery, event_id: str, error: Any, message: Any) -> None:
        delivery = Delivery(
            event_id,
            message.topic(),
            message.partition() if error is None else None,
            message.offset() if error is None else None,
            None if error is None else error.str(),
        )
        try:
            on_delivery(delivery)
        except Exception:
            # It would come out of some later emit, whose own event is already queued.
            logger.exception("on_delivery failed for event %s", event_id)
