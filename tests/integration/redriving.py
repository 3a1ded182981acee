"""Redrives in processes of their own, which SIGKILL ends at a chosen moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from typing import Any

from nilo_consumers.dlq import redrive, sender
from nilo_consumers.dlq.journal import Journal
from nilo_consumers.dlq.letters import Chosen
from nilo_consumers.dlq.target import Target
from nilo_schemas.settings import Settings

ANNOUNCED, SENT, NEVER = "announced", "sent", "never"
# Seconds that an intent holds: tests wait for as long after each kill.
LEASE = 2.0
_CONTEXT = multiprocessing.get_context("forkserver")


def redrive_killed(settings: Settings, topic: str, moments: Sequence[str]) -> list[int]:
    """Redrive a topic in as many processes at once as there are moments; how each ended.

    The moments: messages are announced and not sent; they are sent and it is not written; NEVER.
    """
    processes = [_CONTEXT.Process(target=_work, args=(settings, topic, each)) for each in moments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode or 0 for process in processes]


def _work(settings: Settings, topic: str, moment: str) -> None:
    for module in (sender, redrive):
        vars(module)["LEASE"] = LEASE
    if moment == ANNOUNCED:
        _die_after(Journal, "write")
    if moment == SENT:
        _die_after(Target, "send")
    redrive.redrive(settings, Chosen([topic]), lambda _: None, dry_run=False)


def _die_after(kind: Any, name: str) -> None:
    """Let the process be killed after the first such call that was given anything."""
    work = getattr(kind, name)

    def last(self: Any, given: Any) -> Any:
        given = list(given)
        answer = work(self, given)
        if given:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(kind, name, last)
