"""`nilo …` in which the notifier gets a signal at one moment of its first notification.

The moments, in their order: noting, noted, sent, settling, settled.

`python -m tests.integration.odd_notifier noted SIGKILL sink notify`
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from nilo_cli.main import run
from nilo_consumers.alerts.notify import sender
from nilo_consumers.alerts.notify.ledger import Ledger
from nilo_consumers.alerts.notify.sender import Sender

MOMENTS = {"noting": ("sending", 0), "noted": ("sending", 1), "settling": ("sent", 0),
           "settled": ("sent", 1)}  # fmt: skip


def at_moment(moment: str, hit: Callable[[], None]) -> None:
    """Make it hit at a moment."""
    if moment == "sent":
        send = Sender._in_time

        def and_then(self: Any, notification: Any) -> Any:
            answer = send(self, notification)
            hit()
            return answer

        Sender._in_time = and_then  # type: ignore[method-assign]
        return
    write, (phase, after) = Ledger.write, MOMENTS[moment]

    def odd(self: Any, notes: Any) -> None:
        now = any(note and note.phase == phase for note in notes.values())
        if now and not after:
            hit()
        write(self, notes)
        if now and after:
            hit()

    Ledger.write = odd  # type: ignore[method-assign]


def once(number: signal.Signals) -> Callable[[], None]:
    """The signal to this process, the first time that it is called."""
    left = [number]

    def hit() -> None:
        if left:
            os.kill(os.getpid(), left.pop())

    return hit


if __name__ == "__main__":
    # Who is stopped for a test has been still for long enough.
    sender.START_LIMIT = timedelta(seconds=1)  # type: ignore[attr-defined]  # imported there
    at_moment(sys.argv.pop(1), once(signal.Signals[sys.argv.pop(1)]))
    run()
