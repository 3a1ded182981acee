"""A piece of advice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Advice:
    """A finding about a rule or a metric, what to do about it, and the figures behind it."""

    kind: str
    about: str
    finding: str
    advice: str
    figures: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """It as JSON has it."""
        return asdict(self)
