"""One alert at a time, from the thread that reads to the one that handles."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from nilo_schemas.alerts import Alert


@dataclass(eq=False)
class Offer:
    """An alert, and what came of it: None when it was handled, else why it could not be."""

    alert: Alert
    done: Future[str | None] = field(default_factory=Future)


class Handover:
    """The reader offers, the handler asks and says when it is done.

    What was offered stays until it is done or withdrawn: whoever asks again without a word about
    it, because its await was cancelled, is given it again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offer: Offer | None = None
        self._asked: Future[Offer | None] | None = None
        self._ended = False
        self._error: BaseException | None = None

    # Of the reader

    def offer(self, alert: Alert) -> Future[str | None]:
        """Offer an alert; the future has what came of it, or is cancelled by `end`."""
        with self._lock:
            offer = Offer(alert)
            if self._ended:
                offer.done.cancel()
            else:
                self._offer = offer
                self._meet()
            return offer.done

    def withdraw(self) -> None:
        """What is offered, if anything, belongs to another process now."""
        with self._lock:
            self._offer = None

    def end(self, error: BaseException | None = None) -> None:
        """There is no more; whoever asks is given None, or the error."""
        with self._lock:
            self._ended, self._error = True, self._error or error
            if self._offer is not None:
                self._offer.done.cancel()
            self._offer = None
            self._meet()

    # Of the handler

    def ask(self) -> Future[Offer | None]:
        """The next offer; None at the end."""
        with self._lock:
            self._asked = asked = Future[Offer | None]()
            self._meet()
            return asked

    def done(self, offer: Offer, failure: str | None) -> None:
        """Say what came of an offer; nobody wants to know of one that was withdrawn."""
        with self._lock:
            if offer is self._offer:
                self._offer = None
                offer.done.set_result(failure)

    def _meet(self) -> None:
        if self._asked is None or not (self._offer or self._ended):
            return
        asked, self._asked = self._asked, None
        if not asked.set_running_or_notify_cancel():
            return
        if self._error is not None:
            asked.set_exception(self._error)
        else:
            asked.set_result(self._offer)
