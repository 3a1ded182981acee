"""Asks before something is done that cannot be undone."""

from __future__ import annotations

import sys

import typer

from nilo_cli.errors import RefusedError, UsageError


def ask(question: str, otherwise: str) -> None:
    """Return when a person at the terminal says yes.

    Raises:
        RefusedError: the answer is no; `otherwise` says what was not done.
        UsageError: nobody is there to answer.
    """
    require_person()
    if not typer.confirm(question):
        raise RefusedError(otherwise)


def require_person() -> None:
    """Raise UsageError when nobody is there to answer."""
    if not sys.stdin.isatty():
        raise UsageError("this asks before it begins, and nobody is here to answer: add --yes")
