"""What the libraries log, at a rate that people can read.

While a broker is away, aiokafka says so some hundred times a second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

PAUSE_SECONDS = 10.0
# aiokafka's loggers; one filter stands at each, as a filter does not see what loggers below it get.
AIOKAFKA = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.consumer",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
)


class Seldom(logging.Filter):
    """Lets messages of one kind (one template) through once in a while, and counts the others.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        # When a kind was let through last, and how many were not since then.
        self._kinds: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged; it then tells how many of its kind were left out."""
        now, kind = self._clock(), str(record.msg)
        last, left_out = self._kinds.get(kind, (now - PAUSE_SECONDS, 0))
        passes = now >= last + PAUSE_SECONDS
        self._kinds[kind] = (now, 0) if passes else (last, left_out + 1)
        if passes and left_out:
            record.msg = f"{kind} (and {left_out} more of this kind)"
        return passes


def quiet() -> None:
    """Let the libraries of the processors say each thing once in PAUSE_SECONDS."""
    for name in AIOKAFKA:
        logging.getLogger(name).addFilter(Seldom())
    # One line per request to the registry tells nobody anything.
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
