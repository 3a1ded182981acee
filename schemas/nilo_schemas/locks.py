"""Locks between processes on one machine; they end with the process that holds them."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nilo_schemas.errors import NiloError


@contextmanager
def locked(path: Path, busy: NiloError) -> Iterator[None]:
    """Hold a lock file while the block runs; raises `busy` when another one holds it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        yield
