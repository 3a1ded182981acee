"""What is known of alerts, for one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nilo_cli.cluster import connect
from nilo_consumers.alerts.board import Board
from nilo_schemas.settings import Settings


@contextmanager
def board_of(settings: Settings) -> Iterator[Board]:
    """The alerts and silences as they are now; raises UnreachableError or ContractError."""
    connect(settings)
    board = Board(settings)
    try:
        board.refresh()
        yield board
    finally:
        board.close()
