"""The embedded stack as a whole: up, down, status; one broker down and up again."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from nilo_deploy import artifacts, kafka, postgres, process, registry, state
from nilo_deploy.errors import HomeError, ServerError
from nilo_deploy.ports import choose_ports
from nilo_deploy.server import Server
from nilo_deploy.state import PARTS, Choices, Home, Part
from nilo_schemas.settings import Settings

Say = Callable[[str], None]
_READY_LIMIT = 90.0  # seconds from a server's start to its answer
_STOP_LIMIT = 20.0  # seconds from the signal to SIGKILL
_POLL = 0.05  # seconds


@dataclass(frozen=True)
class ServerState:
    """What is known of one server; `pid` and `since` are None when it is down."""

    name: str
    state: Literal["up", "down", "not answering"]
    address: str
    version: str
    log: Path
    pid: int | None
    since: datetime | None

    @property
    def uptime(self) -> float | None:
        """Seconds since its start."""
        return None if self.since is None else (datetime.now(UTC) - self.since).total_seconds()


@dataclass(frozen=True)
class StackState:
    """The servers of a data folder; `started` names those that this very `up` started."""

    home: Path
    servers: tuple[ServerState, ...]
    started: tuple[str, ...] = ()

    @property
    def up(self) -> bool:
        """Whether there are servers and all of them run and answer."""
        return bool(self.servers) and all(server.state == "up" for server in self.servers)


def external(settings: Settings) -> frozenset[Part]:
    """The parts for which servers elsewhere are configured (flag, environment or nilo.toml)."""
    names: dict[Part, str] = {
        "kafka": "kafka_bootstrap_servers",
        "registry": "schema_registry_url",
        "postgres": "database_url",
    }
    return frozenset(
        part
        for part, name in names.items()
        if getattr(settings, name) is not None
        and not settings.source(name).startswith(("run file", "default"))
    )


def up(
    settings: Settings,
    *,
    brokers: int | None = None,
    ports: Mapping[str, int] | None = None,
    skip: Collection[Part] = (),
    progress: Say | None = None,
) -> StackState:
    """Start what is missing of the stack, wait until all of it is healthy, write the run file.

    Args:
        settings: `home` names the data folder.
        brokers: 1 or 3; None takes what the folder has, or 1.
        ports: wanted ports by listener (`kafka-1`, `kafka-1-controller`, …, `registry`, `postgres`).
        skip: parts that are not wanted because they run elsewhere; see `external`.
        progress: told what happens, one line each time, possibly from another thread.

    Raises:
        DownloadError: the servers' files could not be fetched.
        PortError: a port asked for is taken.
        HomeError: the folder is not ours or has another number of brokers.
        ServerError: a server did not get ready; what this call started is stopped again.
    """
    home, say = Home(settings.home.absolute()), progress or _silent
    with _locked(home, say):
        choices = _choose(home, brokers, ports or {}, skip)
        servers = _servers(home, choices)
        missing = [server for server in servers if not _identity(home, server.name)]
        if missing:
            home.run_file.unlink(missing_ok=True)
            _fetch(missing, say)
        _start(home, servers, missing, say)
        _write_run_file(home, choices, servers)
        return _state(home, servers, started=[server.name for server in missing])


def down(
    settings: Settings, *, delete: bool = False, progress: Say | None = None
) -> tuple[str, ...]:
    """Stop every server of the data folder; returns the names of those that ran.

    Args:
        settings: `home` names the data folder.
        delete: also remove the stack's own data (never anything else in the folder).
        progress: told what happens.

    Raises:
        HomeError: `delete` of a folder that is not marked as ours.
    """
    home, say = Home(settings.home.absolute()), progress or _silent
    if not home.root.is_dir():
        if delete:
            raise HomeError(f"{home.root} does not exist: nothing to delete")
        return ()
    with _locked(home, say):
        names = sorted(path.stem for path in home.pid_file("x").parent.glob("*.json"))
        stopped = _stop(home, names, say)
        home.run_file.unlink(missing_ok=True)
        if delete:
            state.delete_data(home)
        return stopped


def status(settings: Settings) -> StackState:
    """What runs now; without servers when the folder holds no stack. Starts and changes nothing."""
    home = Home(settings.home.absolute())
    choices = state.read_choices(home)
    return _state(home, [] if choices is None else _servers(home, choices))


def stop_broker(
    home: Path, node: int, number: signal.Signals = signal.SIGTERM, limit: float = _STOP_LIMIT
) -> None:
    """Stop one broker (counted from 1) of a running stack; the others go on.

    Raises:
        ServerError: it does not run.
    """
    where = Home(home.absolute())
    with _locked(where, _silent):
        server = _node(where, node)
        identity = _identity(where, server.name)
        if identity is None:
            raise ServerError(f"{server.name} of {home} does not run: start it with `nilo up`")
        process.stop({identity: number}, limit)
        where.pid_file(server.name).unlink(missing_ok=True)


def start_broker(home: Path, node: int) -> None:
    """Start one stopped broker again, on its port, and wait until it answers.

    Raises:
        ServerError: it did not get ready.
        HomeError: the folder holds no such broker.
    """
    where = Home(home.absolute())
    with _locked(where, _silent):
        server = _node(where, node)
        missing = [] if _identity(where, server.name) else [server]
        _start(where, [server], missing, _silent)


def _silent(_line: str) -> None:
    """The progress of those who asked for none."""


def _locked(home: Home, say: Say):  # type: ignore[no-untyped-def]
    return state.locked(
        home.root / ".lock",
        lambda: say(f"another `nilo up` or `down` works on {home.root}; waiting for it"),
    )


def _node(home: Home, node: int) -> Server:
    choices = state.read_choices(home)
    if choices is None or not 1 <= node <= choices.brokers:
        raise HomeError(f"{home.root} has no broker {node}: see `nilo status`")
    return kafka.servers(home, choices)[node - 1]


def _choose(
    home: Home, brokers: int | None, ports: Mapping[str, int], skip: Collection[Part]
) -> Choices:
    """Settle brokers and ports and keep them."""
    kept = state.read_choices(home)
    count = brokers or (kept.brokers if kept else 1)
    if count not in (1, 3):
        raise HomeError(f"--brokers {count}: 1 (a single broker) or 3 (a replicated cluster)")
    if kept is not None and kept.brokers != count:
        raise HomeError(
            f"{home.root} holds a stack of {kept.brokers} broker(s), not {count}: leave --brokers "
            "out, choose another NILO_HOME, or delete its data with `nilo down --delete`"
        )
    parts = tuple(part for part in PARTS if part not in skip)
    chosen = Choices(brokers=count, parts=parts) if kept is None else kept
    names = [*kafka.listeners(count), registry.NAME, postgres.NAME]
    running = [name for name in names if _identity(home, name.removesuffix("-controller"))]
    listening = choose_ports(names, chosen.ports, ports, running)
    chosen = chosen.model_copy(update={"ports": listening, "parts": parts})
    state.write_choices(home, chosen)
    return chosen


def _servers(home: Home, choices: Choices) -> list[Server]:
    servers: list[Server] = []
    if "kafka" in choices.parts:
        servers += kafka.servers(home, choices)
    if "registry" in choices.parts:
        servers.append(registry.server(home, choices))
    if "postgres" in choices.parts:
        servers.append(postgres.server(home, choices))
    return servers


def _fetch(missing: Sequence[Server], say: Say) -> None:
    parts = {server.part for server in missing}
    artifacts.fetch(kafka="kafka" in parts, registry="registry" in parts, say=say)


def _identity(home: Home, name: str) -> process.Identity | None:
    return process.find(home.pid_file(name))


def _start(home: Home, servers: Sequence[Server], missing: Sequence[Server], say: Say) -> None:
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
        _stop(home, [server.name for server in missing], say)
        raise
    pool.shutdown()


def _bring_up(
    home: Home, server: Server, start: bool, cancelled: threading.Event, say: Say
) -> None:
    if start:
        server.prepare()
        if cancelled.is_set():
            return
        process.start(server.command, server.log, home.pid_file(server.name))
    begin = time.monotonic()
    while not cancelled.is_set():
        if _connects(server.port) and server.healthy():
            if start:
                say(f"{server.name} is up at {server.address}")
            return
        _check_still_starting(home, server, time.monotonic() - begin)
        cancelled.wait(_POLL)


def _check_still_starting(home: Home, server: Server, waited: float) -> None:
    tail = process.last_lines_of(server.log)
    if _identity(home, server.name) is None:
        raise ServerError(f"{server.name} ended while it started; its log is {server.log}:{tail}")
    if waited > _READY_LIMIT:
        raise ServerError(
            f"{server.name} at {server.address} was not ready after {_READY_LIMIT:.0f} s; "
            f"`nilo down` and `nilo up` again, or read its log {server.log}:{tail}"
        )


def _connects(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _stop(home: Home, names: Sequence[str], say: Say) -> tuple[str, ...]:
    """Stop the named servers that run and forget their pids."""
    running = {name: found for name in names if (found := _identity(home, name))}
    signals = {identity: _signal(name) for name, identity in running.items()}
    if running:
        say(f"stopping {', '.join(running)}")
    killed = process.stop(signals, _STOP_LIMIT)
    for name, identity in running.items():
        if identity in killed:
            say(f"{name} did not stop within {_STOP_LIMIT:.0f} s and was killed")
    for name in names:
        home.pid_file(name).unlink(missing_ok=True)
    return tuple(running)


def _signal(name: str) -> signal.Signals:
    return postgres.STOP_SIGNAL if name == postgres.NAME else signal.SIGTERM


def _write_run_file(home: Home, choices: Choices, servers: Sequence[Server]) -> None:
    values: dict[str, object] = {}
    if "kafka" in choices.parts:
        values["kafka_bootstrap_servers"] = kafka.bootstrap(choices)
        values["replication_factor"] = choices.brokers
    if "registry" in choices.parts:
        values["schema_registry_url"] = registry.url(choices)
    if "postgres" in choices.parts:
        values["database_url"] = postgres.url(home, choices)
    identities = {server.name: _identity(home, server.name) for server in servers}
    found = {name: identity for name, identity in identities.items() if identity}
    values["brokers"] = choices.brokers
    values["versions"] = {server.name: server.version for server in servers}
    values["pids"] = {name: [each.pid, each.started] for name, each in found.items()}
    values["started_at"] = _time(min(each.started for each in found.values())).isoformat()
    state.write_json(home.run_file, values)


def _state(home: Home, servers: Sequence[Server], started: Sequence[str] = ()) -> StackState:
    states = tuple(_server_state(home, server) for server in servers)
    return StackState(home.root, states, tuple(started))


def _server_state(home: Home, server: Server) -> ServerState:
    identity = _identity(home, server.name)
    answers = identity is not None and _connects(server.port)
    return ServerState(
        name=server.name,
        state="down" if identity is None else "up" if answers else "not answering",
        address=server.address,
        version=server.version,
        log=server.log,
        pid=None if identity is None else identity.pid,
        since=None if identity is None else _time(identity.started),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
