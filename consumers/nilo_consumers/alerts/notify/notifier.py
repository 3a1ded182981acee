"""The notifier: what is due is noted as being sent, sent, and noted as sent."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from nilo_consumers.alerts.board import Board
from nilo_consumers.alerts.notify.counters import Counters
from nilo_consumers.alerts.notify.groups import Groups
from nilo_consumers.alerts.notify.ledger import Ledger
from nilo_consumers.alerts.notify.notification import (
    Answer,
    Desk,
    Notes,
    Notification,
    Outcome,
    Standing,
)
from nilo_consumers.alerts.notify.push import Pushes
from nilo_consumers.alerts.notify.receivers import Receiver, Receivers
from nilo_consumers.alerts.notify.sender import Sender, way_to
from nilo_consumers.alerts.suppress import suppression
from nilo_consumers.backoff import Backoff
from nilo_consumers.metrics import SinkMetrics
from nilo_schemas.errors import NiloError
from nilo_schemas.notified import Notified
from nilo_schemas.settings import Settings

EVERY = 0.25  # seconds
LAST_WAIT = 10.0  # seconds for what is under way when it is to stop
LONGEST_REST = 60.0  # seconds between two tries at a receiver, unless it asks for more
_MOST = 3600.0  # seconds for which a receiver may ask
log = logging.getLogger(__name__)


class _Line:
    """One receiver: what it is told, the thread that tells it, and how it fares."""

    def __init__(self, receiver: Receiver, external_url: str, counters: Counters) -> None:
        self.receiver = receiver
        self.sender = Sender(
            receiver.name,
            way_to(receiver, external_url, lambda: counters.template_failed(receiver.name)),
        )
        self.desk: Desk = desk_of(receiver, [])
        self.trouble: str | None = None
        self._backoff, self._not_before = Backoff(first=1.0, longest=LONGEST_REST), 0.0

    @property
    def free(self) -> bool:
        """Whether it can be told something now."""
        return self.sender.idle and time.monotonic() >= self._not_before

    def fared(self, answer: Answer) -> None:
        """Take in how a sending ended: after a failure it rests; each trouble is logged once."""
        if answer.outcome is Outcome.SENT:
            self._backoff, self.trouble = Backoff(first=1.0, longest=LONGEST_REST), None
            return
        rest = max(self._backoff.next(), min(answer.wait, _MOST))
        self._not_before = time.monotonic() + rest
        told = f"receiver {self.receiver.name} {answer.reason}"
        if told != self.trouble:
            log.warning("notification %s: %s", answer.outcome, told)
        self.trouble = told


class Notifier:
    """Notifies while it owns the ledger, and stands by else.

    1. what is due is written to the ledger as being sent
    2. it is sent
    3. the ledger is told how that ended

    Killed between 1 and 3 it leaves a sending of which nobody knows the end: that counts as sent
    until the group interval is over, and is sent again then. So nothing is told twice within it.
    """

    def __init__(
        self, settings: Settings, receivers: Receivers, stop: threading.Event, metrics: SinkMetrics
    ) -> None:
        self._stop, self._metrics = stop, metrics
        self._counters = Counters(metrics.registry)
        self._board, self._ledger = Board(settings), Ledger(settings, self._finish)
        self._lines = {
            each.name: _Line(each, receivers.external_url, self._counters)
            for each in receivers.receivers
        }
        for name in self._lines:
            self._counters.begin(name)
        self._active = False
        self._backoff, self._not_before = Backoff(), 0.0

    def run(self, on_ready: Callable[[], None]) -> None:
        """Run until `stop` is set; what is under way then is waited for, ten seconds at most.

        Args:
            on_ready: called once this process notifies or stands by.

        Raises:
            NiloError: a terminal error.
        """
        ready = False
        try:
            while not self._stop.is_set():
                done = self._attempt()
                if done and not ready:
                    ready = True
                    on_ready()
        finally:
            self._ledger.close()  # which calls _finish first
            for line in self._lines.values():
                line.sender.close()
            self._board.close()

    def _attempt(self) -> bool:
        """One turn; whether it is known who notifies, and nothing is in the way."""
        self._ledger.poll(EVERY)
        if self._ledger.mine is None or time.monotonic() < self._not_before:
            return False
        try:
            self._turn()
        except NiloError as error:
            if not error.transient:
                raise
            # What was written is not known any more: it is read again.
            self._step_down()
            self._not_before = time.monotonic() + self._backoff.next()
            log.warning("the notifier waits: %s", error)
            self._metrics.trouble = str(error)
            return False
        self._backoff = Backoff()
        troubles = [line.trouble for line in self._lines.values() if line.trouble]
        self._metrics.trouble = "; ".join(troubles) or None
        return True

    def _turn(self) -> None:
        if not self._ledger.mine:
            self._step_down()
            return
        if not self._active:
            self._take_over()
        for line in self._lines.values():
            self._settle(line)
        self._board.refresh()
        now = datetime.now(UTC)
        standings = standings_of(self._board, (line.desk for line in self._lines.values()), now)
        self._tell([line for line in self._lines.values() if line.free], standings, now)

    def _take_over(self) -> None:
        """Read what was told so far; a sending of ours that has gone on meanwhile is still ours."""
        found = self._ledger.take_over()
        for name, line in self._lines.items():
            mine = [note for note in found.values() if note.receiver == name]
            line.desk = desk_of(line.receiver, mine)
            held = line.sender.under_way
            if held and any(found.get(key) != note for key, note in held.notes.items()):
                line.sender.forget()
                held = None
            unknown = {note.id for note in mine if note.phase == "sending"} - {held and held.id}
            self._counters.ended(name, Outcome.UNCERTAIN, len(unknown))
            if unknown:
                log.warning("receiver %s: the end of %d sendings is not known", name, len(unknown))
        self._active = True
        self._counters.active(yes=True)
        log.info("this process notifies")

    def _step_down(self) -> None:
        self._active = False
        self._counters.active(yes=False)

    def _tell(self, lines: list[_Line], standings: list[Standing], now: datetime) -> None:
        notes: dict[str, Notified | None] = {}
        begun: list[tuple[_Line, Notification]] = []
        for line in lines:
            before = line.desk.suppressed
            while (due := line.desk.take(standings, now)) and not due.alerts:
                notes |= due.notes
            self._counters.suppressed(line.receiver.name, line.desk.suppressed - before)
            if due:
                notes |= due.notes
                begun.append((line, due))
        self._write(notes)  # 1
        for line, due in begun:
            line.sender.begin(due)  # 2

    def _settle(self, line: _Line, timeout: float = 0) -> None:
        ended = line.sender.ended(timeout)
        if ended is None:
            return
        notification, answer = ended
        self._write(line.desk.settle(notification, answer.outcome, datetime.now(UTC)))  # 3
        line.sender.forget()
        line.fared(answer)
        self._counters.ended(line.receiver.name, answer.outcome)
        if answer.outcome is Outcome.SENT and len(notification.groups) > 1:
            self._counters.folded(line.receiver.name, len(notification.groups))

    def _write(self, notes: Notes) -> None:
        if notes:
            self._ledger.write(notes)

    def _finish(self) -> None:
        """Note the end of what is under way, as far as it ends soon; others are not known of."""
        deadline = time.monotonic() + LAST_WAIT
        busy = [line for line in self._lines.values() if not line.sender.idle]
        for line in busy if self._active else []:
            try:
                self._settle(line, max(0.0, deadline - time.monotonic()))
            except NiloError as error:
                log.warning("not noted what became of a notification: %s", error)


def desk_of(receiver: Receiver, notes: Iterable[Notified]) -> Desk:
    """What decides of what a receiver is told and when."""
    kind = Pushes if receiver.kind == "alertmanager" else Groups
    return kind(receiver, notes)


def standings_of(board: Board, desks: Iterable[Desk], now: datetime) -> list[Standing]:
    """The alerts of which anybody knows or should, and what suppresses them."""
    known: set[str] = set().union(*(desk.known for desk in desks))
    causes = [alert for alert in board.active() if alert.hides]
    silences = list(board.silences.values())
    return [
        Standing(alert, suppression(alert, causes, silences, now))
        for alert in board.alerts.values()
        if alert.active or alert.fingerprint in known
    ]
