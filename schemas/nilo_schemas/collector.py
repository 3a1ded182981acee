"""Python's garbage collector in programs that take in messages by the thousand."""

from __future__ import annotations

import gc

# Most objects of a fetch live as long as its batch. At Python's own 700 the collector looks through
# them so often that it takes as long as all else (tests/bench/transports.py).
_THRESHOLDS = (50_000, 20, 50)


def tune_gc() -> None:
    """Let the garbage collector run seldom, and never over what was loaded at the start.

    For the whole process: a program calls it once, when it has imported what it needs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
