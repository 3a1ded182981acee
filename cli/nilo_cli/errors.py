"""Every error that the command line itself raises.

NiloError (nilo_schemas)
├── UsageError       a value given on the command line is wrong; the program exits with 2
├── RefusedError     the user said no, or what was asked for cannot be done safely
├── AuditError       a store has lost something, or has it twice
├── LeftError        a place holds rows of a subject still, or could not be reached
├── TakenError       an address on which to listen is in use
├── NoChartsError    the package that draws charts is absent
└── NoWindowsError   there are no windows to look at
"""

from __future__ import annotations

from nilo_schemas.errors import NiloError


class UsageError(NiloError):
    """A value given on the command line is wrong."""


class RefusedError(NiloError):
    """The user said no, or what was asked for cannot be done safely."""


class AuditError(NiloError):
    """A store has lost something, or has it twice."""


class LeftError(NiloError):
    """A place holds rows of a subject still, or could not be reached."""


class TakenError(NiloError):
    """An address on which to listen is in use."""


class NoChartsError(NiloError):
    """The package of the extra `charts` is not installed."""


class NoWindowsError(NiloError):
    """A store has no windows of what was asked for."""
