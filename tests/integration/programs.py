"""Runs our programs as a user would: processes of their own, settings by environment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from nilo_deploy import ports
from nilo_schemas.settings import Settings
from tests.integration.forked import Forked, nilo_forked

SHARED = Path(__file__).parents[3] / "shared"
LOG_LINES = 80
# Seconds. Three processes of tests with servers of their own share a small machine: when all work,
# a worker alone may take half a minute to start.
LIMIT = 180.0
T = TypeVar("T")
Program = Forked | subprocess.Popen[bytes]


def nilo(settings: Settings, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run `nilo …` to its end."""
    return nilo_forked(words, os.environ | settings.environment(), timeout=timeout)


@contextmanager
def running(settings: Settings, *words: str, log: Path, module: str = "") -> Iterator[Program]:
    """Run `nilo …`, or another module, in the background; stopped by SIGTERM at the end.

    When the test fails meanwhile, the end of what the program wrote is printed for pytest to show.
    """
    environment = os.environ | settings.environment()
    if module:
        process = _started([sys.executable, "-m", module, *words], environment, log)
    else:
        log.touch()
        process = Forked(words, environment, (Path(os.devnull), log, log))
    try:
        yield process
    except BaseException:
        print(f"--- {log} ---", *log.read_text().splitlines()[-LOG_LINES:], sep="\n")
        raise
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _started(words: list[str], environment: dict[str, str], log: Path) -> Program:
    with log.open("ab") as out:
        return subprocess.Popen(
            words, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )


def free_port(*, row: int = 1) -> str:
    """A port that nobody listens on; the first of `row` such."""
    return str(ports.free_port(row=row))


def healthy(port: int | str) -> bool:
    """Whether the program that serves this port says that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_for(what: str, check: Callable[[], T | None], timeout: float = LIMIT) -> T:
    """Ask until the answer is true; fail with `what` when the time is up."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        answer = check()
        if answer:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {timeout} s")
