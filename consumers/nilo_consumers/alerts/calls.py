"""Callbacks for alerts: who is called, and what happens when that fails."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nilo_consumers.alerts.wanted import Wanted
from nilo_consumers.backoff import Backoff
from nilo_consumers.staying import StoppedError
from nilo_schemas.alerts import Alert

Callback = Callable[[Alert], Awaitable[None] | None]
FIRST_WAIT = 0.5  # seconds
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calls:
    """Calls the callbacks that want an alert, one after another, each until it succeeds.

    Attributes:
        callbacks: each with what it wants.
        loop: where those that are coroutines run.
        stop: ends the waits between tries.
        attempts: how often a callback is called with an alert.
        longest_wait: seconds between two tries; they begin with half a second and double.
    """

    callbacks: Sequence[tuple[Wanted, Callback]]
    loop: asyncio.Runner
    stop: threading.Event
    attempts: int
    longest_wait: float

    def handle(self, alert: Alert) -> str | None:
        """Call all; None, or what those raised that failed at every try.

        Raises:
            StoppedError: `stop` was set before it was known what came of it.
        """
        tried = [self._tried(each, alert) for wanted, each in self.callbacks if wanted(alert)]
        return "; ".join(failure for failure in tried if failure) or None

    def _tried(self, callback: Callback, alert: Alert) -> str | None:
        name = getattr(callback, "__name__", repr(callback))
        failure: str | None = None
        backoff = Backoff(first=FIRST_WAIT, longest=self.longest_wait)
        for attempt in range(1, self.attempts + 1):
            try:
                self._call(callback, alert)
            except Exception as error:
                failure = f"{name}: {type(error).__name__}: {error}"
                log.warning("alert %s, try %d of %d: %s", alert.id, attempt, self.attempts, failure)
            else:
                return None
            if attempt < self.attempts and self.stop.wait(backoff.next()):
                raise StoppedError
        return failure

    def _call(self, callback: Callback, alert: Alert) -> None:
        result: Any = callback(alert)
        if inspect.isawaitable(result):
            self.loop.run(_awaited(result))


async def _awaited(result: Awaitable[None]) -> None:
    await result
