"""Every error that nilo_consumers raises.

NiloError (nilo_schemas)
├── MissingExtraError          a package of the extra `consumers` or `notify` is not installed
├── UnknownSinkError           no sink has this name
├── AddressTakenError          /metrics cannot listen where it was told to
├── ReceiversError             the file of the receivers is refused, or names no such receiver
├── FencedError                another process notifies now (transient: this one stands by)
├── BrokerRefusedError         Kafka refuses this consumer (rights, or a fatal error of the client)
└── StoreError                 a store did not take a batch
    ├── StoreUnavailableError  it does not answer or is full (transient: the runner tries again)
    ├── StoreRefusedError      it refuses the table or us (terminal: the sink stops)
    │   └── RowsRefusedError   it refuses rows for what is in them (the runner finds them, and they
    │                          become dead letters)
    └── StoreMovedError        its offsets are not where this sink left them (terminal)
"""

from __future__ import annotations

from nilo_schemas.errors import NiloError


class MissingExtraError(NiloError):
    """A package of the extra `consumers` or `notify` is not installed."""


class UnknownSinkError(NiloError):
    """No sink has this name."""


class AddressTakenError(NiloError):
    """The server of /metrics cannot listen where it was told to."""


class ReceiversError(NiloError):
    """The file of the receivers is refused, with file and line, or names no such receiver."""


class FencedError(NiloError):
    """Another process has taken over what this one wanted to write."""

    transient = True


class BrokerRefusedError(NiloError):
    """Kafka refuses this consumer; trying again would not help."""


class StoreError(NiloError):
    """A store did not take a batch."""


class StoreUnavailableError(StoreError):
    """The store does not answer, is full, or lost a race; the same batch may go in later."""

    transient = True


class StoreRefusedError(StoreError):
    """The store refuses the rows, the table or us; trying again would not help."""


class RowsRefusedError(StoreRefusedError):
    """The store refuses rows for what is in them; without these it would take the others."""


class StoreMovedError(StoreError):
    """The store's offsets or the topic were changed under the running sink."""
