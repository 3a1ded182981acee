"""Every error that nilo_schemas raises.

NiloError                      base of all errors of all parts; one line with the way out
├── SettingsError              a setting is missing, malformed or contradicts another
├── CatalogueError             a catalogue file is refused, with file and line
├── ContractError              contract and model differ, or a contract breaks compatibility
├── UnreachableError           a server does not answer (transient)
└── DecodeError                a message is not one of our events; carries the reason code
"""

from __future__ import annotations

from enum import StrEnum


class NiloError(Exception):
    """Base of every error that Nilometer raises on purpose."""

    transient = False


class SettingsError(NiloError):
    """A setting is missing, malformed or contradicts another."""


class CatalogueError(NiloError):
    """A file of the metrics catalogue is refused; the text names file and line."""


class ContractError(NiloError):
    """A committed contract differs from its model, or breaks readers of earlier versions."""


class UnreachableError(NiloError):
    """A server did not answer in time; trying again later may help."""

    transient = True


class Reason(StrEnum):
    """Why a message became a dead letter: the values of the header `x-nilo-error-code`."""

    EMPTY = "empty"
    FRAMING = "framing"
    UNKNOWN_SCHEMA = "unknown_schema"
    CORRUPT = "corrupt"
    INCOMPATIBLE = "incompatible"
    INVALID = "invalid"
    LATE = "late"
    FUTURE = "future"
    REFUSED = "refused"
    FAILED = "failed"


class DecodeError(NiloError):
    """A message is not a readable event: `reason` is the code, the text says more.

    `field` is the field that is in the way, when it is one: `market.symbol`, `sources[].offset`.
    """

    def __init__(self, reason: Reason, detail: str, field: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.field = field
