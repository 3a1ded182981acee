"""Several worker processes on one machine: started, started again when they fail, stopped together.

A worker ends with its supervisor, also when that is killed: the standard input of every worker is
a pipe whose other end only the supervisor holds, and the kernel closes that for a dead process.
This works on Linux and on macOS; a parent-death signal (prctl) is for Linux alone, and is lost
when the parent dies before the child has asked for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import threading
import time
from asyncio.subprocess import Process, create_subprocess_exec
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any

from nilo_schemas.errors import NiloError
from nilo_stream_processors.restarts import USUAL, History, Limits

log = logging.getLogger(__name__)


class HopelessError(NiloError):
    """A worker has never been ready, however often it was started."""


@dataclass(frozen=True)
class Worker:
    """A program to keep running: its name in the log, its words, where it serves `/health`.

    It must call `end_with_stdin`.
    """

    name: str
    argv: Sequence[str]
    host: str
    port: int


def supervise(
    workers: Sequence[Worker],
    environment: Mapping[str, str],
    *,
    limits: Limits = USUAL,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Run all workers until SIGTERM or SIGINT, or until each has ended with exit code 0.

    One that fails is started again after a wait. One that ends with 0 was told to stop by somebody
    else and stays down.

    Args:
        workers: what to run.
        environment: the whole environment of the workers.
        limits: waits and limits, in seconds.
        clock: seconds that only grow.

    Returns:
        The exit code: 0, or 1 when a worker did not stop cleanly.

    Raises:
        HopelessError: the first starts of a worker all failed; the others are stopped.
    """

    async def run() -> int:
        with _lifeline() as stdin:
            return await _Supervisor(environment, stdin, limits, clock).run(workers)

    return asyncio.run(run())


def end_with_stdin(limit: float = USUAL.stop) -> None:
    """From now on, end this process when its standard input ends: its supervisor is gone then.

    SIGTERM comes first, SIGKILL `limit` seconds later.
    """
    threading.Thread(target=_watch, args=(limit,), name="end-with-stdin", daemon=True).start()


def _watch(limit: float) -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(limit)
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """The reading end of a pipe whose writing end no other process inherits."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


@dataclass(frozen=True)
class _End:
    """How a worker ended, and whether it had been ready."""

    how: str
    clean: bool
    ready: bool


class _Supervisor:
    """Keeps workers running until it is told to stop; one task for each."""

    def __init__(
        self,
        environment: Mapping[str, str],
        stdin: int,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self._environment, self._stdin = environment, stdin
        self._limits, self._clock = limits, clock
        loop = asyncio.get_running_loop()
        self._stop: asyncio.Future[None] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._request_stop)

    def _request_stop(self) -> None:
        if not self._stop.done():
            self._stop.set_result(None)

    async def run(self, workers: Sequence[Worker]) -> int:
        """See `supervise`."""
        tasks = [self._tend_or_stop_all(worker) for worker in workers]
        # All have ended before the first failure is told.
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return 0 if all(ends) else 1

    async def _tend_or_stop_all(self, worker: Worker) -> bool:
        try:
            return await self._tend(worker)
        except Exception:
            self._request_stop()
            raise

    async def _tend(self, worker: Worker) -> bool:
        """Keep one worker running; returns whether it ended cleanly."""
        history = History()
        while not self._stop.done():
            began = self._clock()
            end = await self._run(worker)
            if end.clean or self._stop.done():
                log.log(
                    logging.INFO if end.clean else logging.WARNING, "%s %s", worker.name, end.how
                )
                return end.clean
            ran = self._clock() - began
            history = history.after(ran, ready=end.ready, limits=self._limits)
            if history.hopeless(self._limits):
                raise HopelessError(
                    f"{worker.name} was started {history.starts} times and never ready; the last "
                    f"{end.how}: its own lines above say why, mend that and start again"
                )
            wait = history.wait(random.uniform(0.5, 1.0), self._limits)  # noqa: S311  no secret
            log.warning("%s %s; starts again in %.1f s", worker.name, end.how, wait)
            await asyncio.wait({self._stop}, timeout=wait)
        return True

    async def _run(self, worker: Worker) -> _End:
        """Run one worker to its end."""
        try:
            # A group of its own: Ctrl-C reaches the supervisor alone, which passes it on.
            process = await create_subprocess_exec(
                *worker.argv, stdin=self._stdin, env=self._environment, process_group=0
            )
        except OSError as error:
            return _End(f"cannot be started ({error})", clean=False, ready=False)
        log.info("%s (pid %d) started", worker.name, process.pid)
        ended = asyncio.ensure_future(process.wait())
        ready = await self._watch(worker, process, ended)
        code = await self._end(worker, process, ended)
        # A worker that was still starting has no handler yet, and dies of the signal.
        clean = code == 0 or (self._stop.done() and code == -signal.SIGTERM)
        return _End(f"(pid {process.pid}) {_told(code)}", clean=clean, ready=ready)

    async def _watch(self, worker: Worker, process: Process, ended: asyncio.Future[int]) -> bool:
        """Wait until the worker has ended or all are to stop; returns whether it was ready."""
        ready = False
        either: set[asyncio.Future[Any]] = {ended, self._stop}
        while not ended.done() and not self._stop.done():
            if not ready and await asyncio.to_thread(_healthy, worker.host, worker.port):
                ready = True
                log.info("%s (pid %d) ready", worker.name, process.pid)
            limit = None if ready else self._limits.ask
            await asyncio.wait(either, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        return ready

    async def _end(self, worker: Worker, process: Process, ended: asyncio.Future[int]) -> int:
        """Stop the worker if it still runs; returns its exit code as `subprocess` has it."""
        limit = self._limits.stop
        if not ended.done():
            _send(process, signal.SIGTERM)
            await asyncio.wait({ended}, timeout=limit)
        if not ended.done():
            log.warning("%s (pid %d) did not stop within %g s", worker.name, process.pid, limit)
            _send(process, signal.SIGKILL)
        return await ended


def _send(process: Process, number: signal.Signals) -> None:
    # Not process.send_signal: in Python 3.11 that may take the exit code away from process.wait.
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


def _told(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    return f"killed by signal {-code} ({signal.strsignal(-code)})"


def _healthy(host: str, port: int) -> bool:
    # Not urllib, which would ask a proxy that the environment names.
    with contextlib.closing(HTTPConnection(host, port, timeout=1)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
