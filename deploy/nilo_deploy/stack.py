"""The embedded stack as a whole: up, down, status; one server down and up again."""

from __future__ import annotations

import signal
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from nilo_deploy import artifacts, kafka, postgres, process, registry, state
from nilo_deploy.errors import HomeError, ServerError
from nilo_deploy.ports import choose_ports
from nilo_deploy.report import StackState, stack_state, write_run_file
from nilo_deploy.running import STOP_LIMIT, Say, identity_of, silent, start, stop
from nilo_deploy.server import Server
from nilo_deploy.state import PARTS, Choices, Home, Part
from nilo_schemas.settings import Settings


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
        ports: wanted ports by listener: `kafka-1`, `kafka-1-controller`, …, `registry`, `postgres`.
        skip: parts that are not wanted because they run elsewhere; see `external`.
        progress: told what happens, one line each time, possibly from another thread.

    Raises:
        DownloadError: the servers' files could not be fetched.
        PortError: a port asked for is taken.
        HomeError: the folder is not ours or has another number of brokers.
        ServerError: a server did not get ready; what this call started is stopped again.
    """
    home, say = Home(settings.home.absolute()), progress or silent
    with _locked(home, say):
        choices = _choose(home, brokers, ports or {}, skip)
        servers = _servers(home, choices)
        if not servers:
            return stack_state(home, servers, ())
        missing = [server for server in servers if not identity_of(home, server.name)]
        if missing:
            home.run_file.unlink(missing_ok=True)
            parts = {server.part for server in missing}
            artifacts.fetch(kafka="kafka" in parts, registry="registry" in parts, say=say)
        started = start(home, servers, say)
        write_run_file(home, choices, servers)
        return stack_state(home, servers, started)


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
    home, say = Home(settings.home.absolute()), progress or silent
    if not home.mark.is_file():
        if delete:
            raise HomeError(f"{home.root} holds no embedded stack: nothing was deleted")
        return ()
    with _locked(home, say):
        names = sorted(path.stem for path in home.pid_file("x").parent.glob("*.json"))
        stopped = stop(home, names, say)
        home.run_file.unlink(missing_ok=True)
        if delete:
            state.delete_data(home)
        return stopped


def status(settings: Settings) -> StackState:
    """What runs now; without servers when the folder holds no stack. Starts and changes nothing."""
    home = Home(settings.home.absolute())
    choices = state.read_choices(home)
    return stack_state(home, [] if choices is None else _servers(home, choices))


def stop_server(
    home: Path, name: str, number: signal.Signals = signal.SIGTERM, limit: float = STOP_LIMIT
) -> None:
    """Stop one server of a running stack, such as `kafka-1` or `postgres`; the others go on.

    Raises:
        ServerError: it does not run.
        HomeError: the folder holds no such server.
    """
    where = Home(home.absolute())
    with _locked(where, silent):
        server = _named(where, name)
        identity = identity_of(where, server.name)
        if identity is None:
            raise ServerError(f"{server.name} of {home} does not run: start it with `nilo up`")
        process.stop({identity: number}, limit)
        where.pid_file(server.name).unlink(missing_ok=True)


def start_server(home: Path, name: str) -> None:
    """Start one stopped server again, on its port, and wait until it answers.

    Raises:
        ServerError: it did not get ready.
        HomeError: the folder holds no such server.
    """
    where = Home(home.absolute())
    with _locked(where, silent):
        start(where, [_named(where, name)], silent)


def _locked(home: Home, say: Say) -> AbstractContextManager[None]:
    return state.locked(
        home.root / ".lock",
        lambda: say(f"another `nilo up` or `down` works on {home.root}; waiting for it"),
    )


def _named(home: Home, name: str) -> Server:
    choices = state.read_choices(home)
    servers = [] if choices is None else _servers(home, choices)
    for server in servers:
        if server.name == name:
            return server
    raise HomeError(f"{home.root} has no server {name}: see `nilo status`")


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
    names = [*kafka.listeners(count), registry.NAME, postgres.NAME]
    running = [name for name in names if identity_of(home, name.removesuffix("-controller"))]
    # What runs stays ours to stop, whoever is told of servers elsewhere meanwhile.
    ours = {name.partition("-")[0] for name in running}
    parts: tuple[Part, ...] = tuple(part for part in PARTS if part not in skip or part in ours)
    chosen = Choices(brokers=count, parts=parts) if kept is None else kept
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
