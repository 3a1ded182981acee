"""A dead letter as lines for people."""

# ruff: noqa: PLC0415  rich is imported only where something is drawn with it

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nilo_cli.output import console, printable

_IN_TITLE = ("topic", "origin", "letter", "reason")


def print_letter(row: Mapping[str, Any]) -> None:
    """Print what `nilo_consumers.dlq.shown` says of a letter."""
    from rich.text import Text

    screen = console()
    title = f"{row['reason']}  {row.get('origin', row.get('letter'))}"
    screen.print(Text(printable(title), "bold"), soft_wrap=True)
    for name, value in _facts(row):
        screen.print(Text(printable(f"  {name}: {value}")), soft_wrap=True)


def _facts(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is to be said of a letter beside its title."""
    for name, value in row.items():
        if name in _IN_TITLE or value in (None, "", [], False):
            continue
        if name == "headers":
            yield name, ", ".join(f"{each}={content}" for each, content in value)
        else:
            yield name.replace("_", " "), value
