"""The embedded stack: real Kafka, a real schema registry and real PostgreSQL from pip alone.

Importing this package needs the extra `embedded`; without it, it raises MissingExtraError.
"""

from nilo_deploy.errors import (
    DeployError,
    DownloadError,
    HomeError,
    MissingExtraError,
    PortError,
    ServerError,
)
from nilo_deploy.report import ServerState, StackState
from nilo_deploy.stack import down, external, start_server, status, stop_server, up

__all__ = [
    "DeployError",
    "DownloadError",
    "HomeError",
    "MissingExtraError",
    "PortError",
    "ServerError",
    "ServerState",
    "StackState",
    "down",
    "external",
    "start_server",
    "status",
    "stop_server",
    "up",
]
