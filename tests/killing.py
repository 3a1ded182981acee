"""A program that is killed again and again, until one start of it comes to its end."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

READY = "go"
LONGER = 4 / 3


def killed_until_done(
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    least: float,
    ready: bool = False,
) -> Iterator[str]:
    """Start Python with these arguments, and SIGKILL it at a random moment, later each time.

    The time that a start has grows by a third with each kill, so their number hardly depends on how
    fast the machine is; the moment lies anywhere in that third.

    Args:
        least: seconds that the first start lives at least.
        ready: the time runs from its line `READY` on, and not from its start.

    Yields:
        After each start what names the run, for the message of what is then asserted.

    Raises:
        AssertionError: the start that came to its end failed, or none was killed before.
    """
    seed = random.randrange(10**6)
    moments, kills, code = random.Random(seed), 0, None
    words, given = [sys.executable, *arguments], os.environ | (environment or {})
    while code is None:
        with subprocess.Popen(words, env=given, stdout=subprocess.PIPE, text=True) as child:
            if ready:
                assert child.stdout is not None
                assert child.stdout.readline() == f"{READY}\n"
            try:
                child.communicate(timeout=least * LONGER ** (kills + moments.random()))
                code = child.returncode
            except subprocess.TimeoutExpired:
                child.kill()
                kills += 1
        yield f"seed {seed}, {kills} kills"
    assert (code, kills > 0) == (0, True), f"seed {seed}, {kills} kills"
