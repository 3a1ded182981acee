"""Names of topics on the command line."""

# ruff: noqa: PLC0415  the contracts bring all models

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nilo_cli.errors import UsageError

if TYPE_CHECKING:
    from nilo_schemas.settings import Settings


def known_topics(settings: Settings, topics: Sequence[str] | None) -> list[str]:
    """The topics that were asked for, without prefix; default: all that have a contract.

    Raises:
        UsageError: no contract has such a topic.
    """
    from nilo_schemas.contracts import records

    if topics is None:
        return list(records())
    names = [topic.removeprefix(settings.topic_prefix) for topic in topics]
    for name in names:
        if name not in records():
            raise UsageError(f"no topic {name!r}; there are {', '.join(records())}")
    return names
