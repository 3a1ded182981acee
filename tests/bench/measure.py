"""Processes under measurement: on a core of their own, with their time, CPU and memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from nilo_schemas.errors import NiloError

LIMIT = 900.0  # seconds after which a wait is given up
PAUSE = 0.02  # seconds between two looks
STOP_LIMIT = 30.0
TICK = 0.01  # seconds; CPU time is told no finer
MEGABYTE = 1_000_000


class MeasureError(NiloError):
    """A measured process ended or did not get where it should."""


@dataclass(frozen=True)
class Sample:
    """A process at one moment: the clock, CPU seconds so far, resident bytes, events so far."""

    at: float
    cpu: float
    rss: int
    events: int


@dataclass(frozen=True)
class Run:
    """What a stretch of events has cost."""

    events: int
    seconds: float
    cpu: float
    rss: int

    @classmethod
    def between(cls, begin: Sample, end: Sample) -> Run:
        """The stretch between two samples; memory as at the end.

        Of a topic that was read before the first look one event is left, and the rate says nothing.
        """
        events, cpu = max(end.events - begin.events, 1), max(end.cpu - begin.cpu, TICK)
        return cls(events, max(end.at - begin.at, TICK), cpu, end.rss)

    @property
    def per_core(self) -> float:
        """Events per CPU second of the process, all its threads together."""
        return self.events / self.cpu

    @property
    def per_second(self) -> float:
        """Events per second of the clock."""
        return self.events / self.seconds


@dataclass(frozen=True)
class Outcome:
    """A measured run, the windows it had to make, and how many of them were wrong."""

    run: Run
    windows: int = 0
    differences: int = 0


class Measured:
    """A running program."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log
        self._info = psutil.Process(process.pid)

    def sample(self, events: int) -> Sample:
        """How it stands now; raises MeasureError when it has ended."""
        self.check()
        with self._info.oneshot():
            times, memory = self._info.cpu_times(), self._info.memory_info()
        return Sample(time.perf_counter(), times.user + times.system, memory.rss, events)

    def check(self) -> None:
        """Raise MeasureError when it has ended."""
        if self._process.poll() is not None:
            last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
            code = self._process.returncode
            raise MeasureError(f"{self._log.stem} ended with exit code {code}: {' '.join(last)}")

    def finish(self) -> str:
        """Wait for its end and return what it has written; raises MeasureError when it failed."""
        if self._process.wait(LIMIT):
            self.check()
        return self._log.read_text()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it with SIGTERM, or SIGKILL when that does not help."""
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.kill()


@contextlib.contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[Measured]:
    """Run a program until the end of the block: on the measured core, if this one is kept to some.

    See `keep_off_measured_core`, `to_measured_core` and `on_all_cores`.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    if pinned() and os.sched_getaffinity(0) != set(_cores()):
        os.sched_setaffinity(process.pid, {_cores()[0]})
    measured = Measured(process, log)
    try:
        yield measured
    finally:
        measured.stop()


def pinned() -> bool:
    """Whether the measured process has a core of its own; not on macOS, nor with one core."""
    return len(_cores()) > 1


def keep_off_measured_core(pids: Iterable[int]) -> None:
    """Send these processes and their children, and this one, to the other cores."""
    _send(pids, set(_cores()[1:]))


def to_measured_core(pids: Iterable[int]) -> None:
    """Send these processes and their children, and this one, to the measured core."""
    _send(pids, set(_cores()[:1]))


def on_all_cores(pids: Iterable[int]) -> None:
    """Let these processes and their children, and this one, go where they want."""
    _send(pids, set(_cores()))


def _send(pids: Iterable[int], cores: set[int]) -> None:
    if not pinned():
        return
    # Not the children of this one: servers that it has started may be kept elsewhere.
    processes = [psutil.Process()]
    for parent in map(psutil.Process, pids):
        processes += [parent, *parent.children(recursive=True)]
    for process in processes:
        # Linux pins threads: those there are one by one, later ones as their makers.
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # it has just ended
            for thread in process.threads():
                os.sched_setaffinity(thread.id, cores)


_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


def _cores() -> list[int]:
    """The cores that this program had when it began."""
    return _CORES


def wait_until(fact: Callable[[], bool], what: str, limit: float = LIMIT) -> None:
    """Ask until it holds; raises MeasureError after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not fact():
        if time.monotonic() > deadline:
            raise MeasureError(f"not within {limit:.0f} s: {what}")
        time.sleep(PAUSE)
