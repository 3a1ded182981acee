"""Start servers all at once, wait until they answer, stop them."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from nilo_deploy import postgres, process
from nilo_deploy.errors import ServerError
from nilo_deploy.server import Server
from nilo_deploy.state import Home

Say = Callable[[str], None]
STOP_LIMIT = 20.0  # seconds from the signal to SIGKILL
_READY_LIMIT = 90.0  # seconds from a server's start to its answer
_POLL = 0.05  # seconds


def silent(_line: str) -> None:
    """The progress of those who asked for none."""


def identity_of(home: Home, name: str) -> process.Identity | None:
    """The running process of a server; None when it is down."""
    return process.find(home.pid_file(name))


def start(home: Home, servers: Sequence[Server], say: Say) -> tuple[str, ...]:
    """Start all at once what does not run, wait until every server answers.

    Returns the names of those that were started. On an error and on Ctrl-C they are stopped again.

    Raises:
        ServerError: a server could not be prepared, ended or did not get ready in time.
    """
    cancelled, started = threading.Event(), list[str]()
    pool = ThreadPoolExecutor(max(1, len(servers)))
    try:
        jobs = [pool.submit(_bring_up, home, each, started, cancelled, say) for each in servers]
        for job in wait(jobs, return_when=FIRST_EXCEPTION).done:
            job.result()
    except BaseException:
        cancelled.set()
        pool.shutdown(cancel_futures=True)
        # told nobody: a closed pipe under `say` may be the very reason why we are here
        stop(home, started, silent)
        raise
    pool.shutdown()
    return tuple(server.name for server in servers if server.name in started)


def _bring_up(
    home: Home, server: Server, started: list[str], cancelled: threading.Event, say: Say
) -> None:
    """Start one server if it does not run, or no longer (it may be about to die), and wait."""
    begin = time.monotonic()
    while not cancelled.is_set():
        if identity_of(home, server.name) is None:
            _launch(home, server, started, cancelled)
        elif connects(server.port) and server.healthy():
            if server.name in started:
                say(f"{server.name} is up at {server.address}")
            return
        elif time.monotonic() - begin > _READY_LIMIT:
            raise ServerError(
                f"{server.name} at {server.address} was not ready after {_READY_LIMIT:.0f} s: try "
                f"`nilo down` and `nilo up`, or read its log {server.log}:"
                + process.last_lines_of(server.log)
            )
        else:
            cancelled.wait(_POLL)


def _launch(home: Home, server: Server, started: list[str], cancelled: threading.Event) -> None:
    if server.name in started:
        raise ServerError(
            f"{server.name} ended while it started; its log is {server.log}:"
            + process.last_lines_of(server.log)
        )
    server.prepare()
    if not cancelled.is_set():
        started.append(server.name)
        process.start(server.command(), server.log, home.pid_file(server.name))


def connects(port: int) -> bool:
    """Whether something listens on 127.0.0.1:port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def stop(home: Home, names: Sequence[str], say: Say) -> tuple[str, ...]:
    """Stop the named servers that run and forget their pids."""
    running = {name: found for name in names if (found := identity_of(home, name))}
    signals = {identity: _signal(name) for name, identity in running.items()}
    if running:
        say(f"stopping {', '.join(running)}")
    killed = process.stop(signals, STOP_LIMIT)
    for name, identity in running.items():
        if identity in killed:
            say(f"{name} did not stop within {STOP_LIMIT:.0f} s and was killed")
    for name in names:
        home.pid_file(name).unlink(missing_ok=True)
    return tuple(running)


def _signal(name: str) -> signal.Signals:
    return postgres.STOP_SIGNAL if name == postgres.NAME else signal.SIGTERM
