"""Free TCP ports on 127.0.0.1, kept from one start to the next."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection, Mapping

from nilo_deploy.errors import PortError

# Below the range from which the system takes the ports of outgoing connections (32768 on Linux,
# 49152 on macOS): a client that keeps trying a stopped server's port inside that range can be
# given the very port it calls, and the server then never gets it back.
_LOWEST, _HIGHEST = 20_000, 32_000
_random = random.SystemRandom()


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # as the servers do: connections of an earlier server in TIME_WAIT are no obstacle
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(taken: Collection[int] = (), *, row: int = 1) -> int:
    """A free port that is not one of `taken`, and no client is given; the first of `row` such.

    Raises:
        PortError: there is none.
    """
    for _ in range(1000):
        port = _random.randint(_LOWEST, _HIGHEST - row)
        if all(each not in taken and is_free(each) for each in range(port, port + row)):
            return port
    raise PortError(f"no free port between {_LOWEST} and {_HIGHEST}")


def choose_ports(
    names: Collection[str],
    kept: Mapping[str, int],
    asked: Mapping[str, int],
    running: Collection[str] = (),
) -> dict[str, int]:
    """A port for each name: the one asked for, else the kept one when free, else a free one.

    Args:
        names: the listeners that need a port.
        kept: ports of the last start.
        asked: ports that the user wants.
        running: names whose server runs now and keeps its port.

    Raises:
        PortError: a port asked for is unknown by name, out of range or taken.
    """
    _check_asked(names, asked)
    ports = {name: kept[name] for name in running if name in kept}
    for name in names:
        if name in ports:
            _check_running(name, ports[name], asked)
        else:
            taken = set(ports.values()) | set(asked.values()) - {asked.get(name)}
            ports[name] = _choose(name, kept.get(name), asked.get(name), taken)
    return ports


def _check_asked(names: Collection[str], asked: Mapping[str, int]) -> None:
    for name, port in asked.items():
        if name not in names:
            raise PortError(f"port {port} for {name!r}: no such listener; {', '.join(names)}")
        if not 1 <= port <= 65_535:
            raise PortError(f"port {port} for {name} is out of range: choose one of 1 to 65535")
    if len(set(asked.values())) < len(asked):
        raise PortError("the same port was asked for twice: give each server its own")


def _check_running(name: str, port: int, asked: Mapping[str, int]) -> None:
    if asked.get(name, port) != port:
        raise PortError(
            f"{name} already runs on port {port}, not {asked[name]}: stop it first with `nilo down`"
        )


def _choose(name: str, kept: int | None, asked: int | None, taken: set[int]) -> int:
    if asked is not None:
        if asked in taken or not is_free(asked):
            raise PortError(
                f"port {asked} for {name} is taken: choose another, or leave it out for a free one"
            )
        return asked
    if kept is not None and kept not in taken and is_free(kept):
        return kept
    return free_port(taken)
