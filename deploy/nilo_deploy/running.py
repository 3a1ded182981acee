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


def identity_of(home: Home, name: str) -> process.Identity | None:
    """The running process of a server; None when it is down."""
    return process.find(home.pid_file(name))


def start(home: Home, servers: Sequence[Server], missing: Sequence[Server], say: Say) -> None:
    """Start the missing servers all at once and wait until every server answers."""
    if not servers:
        return
    cancelled = threading.Event()
    pool = ThreadPoolExecutor(len(servers))
    try:
        jobs = [
            pool.submit(_bring_up, home, server, server in missing, cancelled, say)
            for server in servers
        ]
        for job in wait(jobs, return_when=FIRST_EXCEPTION).done:
            job.result()
    except BaseException:
        cancelled.set()
        pool.shutdown(cancel_futures=True)
        stop(home, [server.name for server in missing], say)
        raise
    pool.shutdown()


def _bring_up(
    home: Home, server: Server, start: bool, cancelled: threading.Event, say: Say
) -> None:
    if start:
        server.prepare()
        if cancelled.is_set():
            return
        process.start(server.command(), server.log, home.pid_file(server.name))
    begin = time.monotonic()
    while not cancelled.is_set():
        if connects(server.port) and server.healthy():
            if start:
                say(f"{server.name} is up at {server.address}")
            return
        _check_still_starting(home, server, time.monotonic() - begin)
        cancelled.wait(_POLL)


def _check_still_starting(home: Home, server: Server, waited: float) -> None:
    tail = process.last_lines_of(server.log)
    if identity_of(home, server.name) is None:
        raise ServerError(f"{server.name} ended while it started; its log is {server.log}:{tail}")
    if waited > _READY_LIMIT:
        raise ServerError(
            f"{server.name} at {server.address} was not ready after {_READY_LIMIT:.0f} s; "
            f"`nilo down` and `nilo up` again, or read its log {server.log}:{tail}"
        )


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
