"""What runs now: for people, and for other programs (the run file)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from nilo_deploy import kafka, postgres, registry, state
from nilo_deploy.running import connects, identity_of
from nilo_deploy.server import Server
from nilo_deploy.state import Choices, Home


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


def write_run_file(home: Home, choices: Choices, servers: Sequence[Server]) -> None:
    """Tell other programs where the healthy servers listen."""
    values: dict[str, object] = {}
    if "kafka" in choices.parts:
        values["kafka_bootstrap_servers"] = kafka.bootstrap(choices)
        values["replication_factor"] = choices.brokers
    if "registry" in choices.parts:
        values["schema_registry_url"] = registry.url(choices)
    if "postgres" in choices.parts:
        values["database_url"] = postgres.url(home, choices)
    identities = {server.name: identity_of(home, server.name) for server in servers}
    found = {name: identity for name, identity in identities.items() if identity}
    values["brokers"] = choices.brokers
    values["versions"] = {server.name: server.version for server in servers}
    values["pids"] = {name: [each.pid, each.started] for name, each in found.items()}
    values["started_at"] = _time(min(each.started for each in found.values())).isoformat()
    state.write_json(home.run_file, values)


def stack_state(home: Home, servers: Sequence[Server], started: Sequence[str] = ()) -> StackState:
    """What is known of these servers; `started` names those that were started just now."""
    states = tuple(_server_state(home, server) for server in servers)
    return StackState(home.root, states, tuple(started))


def _server_state(home: Home, server: Server) -> ServerState:
    identity = identity_of(home, server.name)
    answers = identity is not None and connects(server.port)
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
