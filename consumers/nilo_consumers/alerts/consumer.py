"""Alerts for your own code: a loop over them, or callbacks."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Self, TypeVar

from nilo_consumers.alerts.board import Board
from nilo_consumers.alerts.calls import Callback, Calls
from nilo_consumers.alerts.handover import Handover, Offer
from nilo_consumers.alerts.reader import Reader
from nilo_consumers.alerts.starting import Start, checked
from nilo_consumers.alerts.suppress import Suppression
from nilo_consumers.alerts.wanted import OneOrMore, Wanted, wanted
from nilo_consumers.staying import StoppedError
from nilo_schemas.alerts import ACTIVE, Alert, AlertState
from nilo_schemas.settings import Settings, load_settings

TOLD = ACTIVE | {AlertState.RESOLVED}  # the states that people are told of
_STEP = 0.2  # seconds
C = TypeVar("C", bound=Callback)


class AlertConsumer:
    """The transitions of alerts as they come, each at least once.

    An alert is committed when the next one is asked for, and by `run` when its callbacks have
    returned. After a crash the last ones come again, with the same `id`: it is the idempotency key
    for whatever you do about them. Those that nobody can decode, and those at which a callback
    fails at every try, go to `dlq.alerts` before they are committed.

        with AlertConsumer(group="pager", severity="critical") as consumer:
            for alert in consumer:
                page(alert.id, alert.summary)

    Processes of the same group share the partitions; a thread of its own keeps this one in the
    group however long an alert is handled. For one thread at a time, but for `stop`.
    """

    def __init__(
        self,
        group: str,
        *,
        severity: OneOrMore | None = None,
        rule: OneOrMore | None = None,
        labels: Mapping[str, str] | None = None,
        state: OneOrMore | None = TOLD,
        start: Start = "new",
        instance: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Connect in the background; reading begins when the first alert is asked for.

        Args:
            group: a name; the consumer group is `nilo-alerts-<group>` behind the topic prefix.
            severity: only this one, or these: info, warning, critical.
            rule: only alerts of this rule, or these.
            labels: only alerts with these labels; others may stand beside them.
            state: only this one, or these (default: firing, no_data and resolved); None: all.
            start: where a group begins that has read nothing: with what comes from now on, at the
                beginning, or at what was published at a time or later.
            instance: a name for this process in its group that is the same after a restart. Then
                it has its partitions back at once, however it ended; and nobody else takes them
                over before it is away for ten seconds, even if it was stopped.
            settings: where Kafka and the registry are (default: `load_settings()`).

        Raises:
            ValueError: no severity, state or start is called so.
            SettingsError: no broker or no registry is known.
        """
        if not group:
            raise ValueError("group: the consumer group needs a name")
        self._settings = settings or load_settings()
        self._hand, self._stop = Handover(), threading.Event()
        self._reader = Reader(
            self._settings,
            group,
            wanted=wanted(severity, rule, state, labels),
            start=checked(start),
            instance=instance,
            hand=self._hand,
            stop=self._stop,
        )
        self._thread = threading.Thread(
            target=self._reader.run, name=f"alerts-{group}", daemon=True
        )
        self._callbacks: list[tuple[Wanted, Callback]] = []
        self._in_hand: Offer | None = None
        self._failure: str | None = None
        self._board: Board | None = None

    # One after another

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Alert:
        offer = self._ask().result()
        return self._taken(offer, StopIteration)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Alert:
        offer = await asyncio.wrap_future(self._ask())
        return self._taken(offer, StopAsyncIteration)

    def stop(self) -> None:
        """End the loop when the alert in hand is done; for signal handlers and other threads."""
        self._stop.set()

    def close(self) -> None:
        """Leave the group; an alert in hand, which nobody said was handled, will come again."""
        self._stop.set()
        self._hand.end()
        self._begin()
        self._thread.join()
        if self._board is not None:
            self._board.close()
            self._board = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    # By callbacks

    def on(
        self,
        *,
        severity: OneOrMore | None = None,
        rule: OneOrMore | None = None,
        labels: Mapping[str, str] | None = None,
        state: OneOrMore | None = None,
    ) -> Callable[[C], C]:
        """Have `run` call a function, which may be `async`, with each alert that matches.

        Arguments as above; None: all that this consumer wants. Raises ValueError as above.
        """
        which = wanted(severity, rule, state, labels)

        def keep(callback: C) -> C:
            self._callbacks.append((which, callback))
            return callback

        return keep

    def run(
        self,
        stop: threading.Event | None = None,
        *,
        attempts: int = 5,
        longest_wait: float = 30.0,
    ) -> None:
        """Call the callbacks until `stop` is set; without one, until SIGTERM or Ctrl-C.

        A callback that raises is called again. An alert at which one failed at every try goes to
        `dlq.alerts`, with the reason `failed`. A call under way is waited for at a stop.

        Args:
            stop: set it to end in good order.
            attempts: how often a callback is called with an alert, at least once.
            longest_wait: seconds between two tries; they begin with half a second and double.

        Raises:
            ValueError: there is no callback, or no attempt.
            NiloError: Kafka refuses us.
        """
        if not self._callbacks or attempts < 1:
            raise ValueError("run needs a callback (decorate it with `on`) and an attempt or more")
        with _ending(stop) as end, self, asyncio.Runner() as loop:
            calls = Calls(self._callbacks, loop, end, attempts, longest_wait)
            try:
                while (alert := self._next(end)) is not None:
                    self._failure = calls.handle(alert)
            except StoppedError:
                return

    # What is so now

    def suppression(self, alert: Alert) -> Suppression:
        """Whether an alert is silenced, acknowledged or hidden by another one now, and by what.

        Raises:
            UnreachableError: the brokers do not answer.
        """
        if self._board is None:
            self._board = Board(self._settings)
        self._board.refresh()
        return self._board.suppression(alert, datetime.now(UTC))

    def _begin(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def _ask(self) -> Future[Offer | None]:
        """Say what came of the alert in hand, and ask for the next one."""
        self._begin()
        if self._in_hand is not None:
            self._hand.done(self._in_hand, self._failure)
        self._in_hand, self._failure = None, None
        return self._hand.ask()

    def _next(self, stop: threading.Event) -> Alert | None:
        if stop.is_set():
            self.stop()
        asked = self._ask()
        while not wait([asked], _STEP).done:
            if stop.is_set():
                self.stop()
        self._in_hand = asked.result()
        return None if self._in_hand is None else self._in_hand.alert

    def _taken(self, offer: Offer | None, end: type[Exception]) -> Alert:
        if offer is None:
            raise end
        self._in_hand = offer
        return offer.alert


@contextmanager
def _ending(stop: threading.Event | None) -> Iterator[threading.Event]:
    """The event itself; without one, an event that SIGTERM and SIGINT set in the main thread."""
    end = stop or threading.Event()
    before = {}
    if stop is None and threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, lambda *_: end.set())
    try:
        yield end
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
