"""Carries a plan out on real processes: the workers of a round, and the broker."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nilo_deploy import start_server, stop_server
from nilo_schemas.settings import Settings
from tests.chaos.schedule import Action, Plan
from tests.integration.programs import Program, free_port, running

Say = Callable[[str], None]
LAST_LINES = 15


@dataclass(frozen=True)
class Strike:
    """Something that was done: what, and when (time.monotonic)."""

    action: Action
    when: float


@dataclass
class Fleet:
    """The workers of a round by number; one that ends by itself is started again.

    `ends` holds what was said by workers that ended by themselves; `stops` the seconds that each
    asked one took to end.
    """

    settings: Settings
    logs: Path
    say: Say
    workers: dict[int, Program] = field(default_factory=dict)
    strikes: list[Strike] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)
    _exits: ExitStack = field(default_factory=ExitStack)
    _paused: set[int] = field(default_factory=set)

    def carry_out(self, plan: Plan, begin: float) -> None:
        """Do everything at its time; `begin` is a time.monotonic."""
        for action in plan.actions:
            while time.monotonic() < begin + action.at:
                self.supervise()
                time.sleep(0.1)
            self.say(f"  {time.monotonic() - begin:5.1f} s: {action}")
            self.strikes.append(Strike(action, time.monotonic()))
            self._do(action)

    def supervise(self) -> None:
        """Start workers again that ended by themselves, as a supervisor does."""
        for worker, process in list(self.workers.items()):
            if process.poll() is not None:
                told = _tail(self._log(worker))
                self._note(f"worker {worker} ended with {process.returncode}:\n{told}")
                self._start(worker)

    def _do(self, action: Action) -> None:
        worker = action.worker
        match action.deed:
            case "start":
                self._start(worker)
            case "kill":
                process = self.workers.pop(worker)
                process.kill()
                process.wait()
            case "stop":
                self._paused.add(worker)
                self.workers[worker].send_signal(signal.SIGSTOP)
            case "continue":
                self._paused.discard(worker)
                self.workers[worker].send_signal(signal.SIGCONT)
            case "leave":
                self._leave({worker: self.workers.pop(worker)})
            case "broker down":
                kind = signal.SIGKILL if action.hard else signal.SIGTERM
                stop_server(self.settings.home, "kafka-1", kind)
            case "broker up":
                start_server(self.settings.home, "kafka-1")

    def _start(self, worker: int) -> None:
        words = ("process", "--metrics-port", free_port())
        started = running(self.settings, *words, log=self._log(worker))
        self.workers[worker] = self._exits.enter_context(started)

    def _log(self, worker: int) -> Path:
        return self.logs / f"worker-{worker}.log"

    def stop(self) -> None:
        """Ask all to end, and wait."""
        for worker in self._paused & self.workers.keys():
            self.workers[worker].send_signal(signal.SIGCONT)
        leaving = dict(self.workers)
        self.workers.clear()
        self._leave(leaving)

    def _leave(self, leaving: dict[int, Program]) -> None:
        begin = time.monotonic()
        for process in leaving.values():
            process.terminate()
        for worker, process in leaving.items():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                told = _tail(self._log(worker))
                self._note(f"worker {worker}, asked to end, did not within 30 s:\n{told}")
            else:
                self.stops.append(time.monotonic() - begin)
                if process.returncode != 0:
                    told = _tail(self._log(worker))
                    code = process.returncode
                    self._note(f"worker {worker}, asked to end, ended with {code}:\n{told}")

    def _note(self, end: str) -> None:
        self.ends.append(end)
        self.say(f"  ! {end}")

    def close(self) -> None:
        """End what still runs, the hard way."""
        for process in self.workers.values():
            process.kill()
        self._exits.close()


@contextmanager
def fleet(settings: Settings, logs: Path, say: Say) -> Iterator[Fleet]:
    """The workers of a round; none is left at the end."""
    logs.mkdir(parents=True, exist_ok=True)
    workers = Fleet(settings, logs, say)
    try:
        yield workers
    finally:
        workers.close()


def to_stderr(line: str) -> None:
    """Say how far it is."""
    print(line, file=sys.stderr, flush=True)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])
