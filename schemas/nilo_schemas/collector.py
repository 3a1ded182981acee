"""Memory in programs that take in messages by the thousand: when it is looked through and kept."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

# Most objects of a fetch live as long as its batch. At Python's own 700 the collector looks through
# them so often that it takes as long as all else (tests/bench/transports.py).
_THRESHOLDS = (50_000, 20, 50)
# Of glibc's malloc.h: what is freed at the end of the heap is kept up to the first, what is larger
# than the second is never kept.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST = 256 * 1024 * 1024, 32 * 1024 * 1024


def tune_gc() -> None:
    """Let the garbage collector run seldom, and never over what was loaded at the start.

    For the whole process: a program calls it once, when it has imported what it needs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def keep_memory() -> None:
    """Let what one batch has freed serve the next one, where malloc is glibc's.

    Else the kernel takes and clears it for each batch anew: a fifth of the time of a replay.
    """
    with suppress(OSError, AttributeError):
        malloc = ctypes.CDLL(None)
        malloc.mallopt(_MMAP_THRESHOLD, _LARGEST)
        malloc.mallopt(_TRIM_THRESHOLD, _KEPT)
