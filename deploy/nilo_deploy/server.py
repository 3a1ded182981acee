"""What the stack needs to know of one server, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nilo_deploy.process import Command
from nilo_deploy.state import Part


@dataclass(frozen=True)
class Server:
    """One server process: how to prepare, start and recognise it as ready.

    `prepare` makes its data and configuration and may be repeated; `healthy` asks the server itself
    and is False while it does not answer.
    """

    name: str
    part: Part
    version: str
    address: str
    port: int
    log: Path
    prepare: Callable[[], None]
    command: Callable[[], Command]
    healthy: Callable[[], bool]
