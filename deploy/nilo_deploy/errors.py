"""Every error that nilo_deploy raises.

NiloError                      (nilo_schemas.errors) one line with the way out
└── DeployError                base of this package
    ├── MissingExtraError      the packages of the extra `embedded` are not installed
    ├── DownloadError          a server's files could not be fetched or are not what they should be
    ├── PortError              a port is taken, unknown or out of range
    ├── HomeError              the data folder is not ours, is damaged or holds another stack
    └── ServerError            a server did not start, died or did not get ready; the text ends
                               with the last lines of its log
"""

from __future__ import annotations

from nilo_schemas.errors import NiloError


class DeployError(NiloError):
    """Base of every error of the embedded stack."""


class MissingExtraError(DeployError):
    """The packages of the extra `embedded` are not installed."""


class DownloadError(DeployError):
    """A server's files could not be fetched, or are not the files they should be."""

    transient = True


class PortError(DeployError):
    """A port is taken, unknown or out of range."""


class HomeError(DeployError):
    """The data folder is not ours, is damaged or holds another stack than the one asked for."""


class ServerError(DeployError):
    """A server did not start, died or did not get ready in time."""
