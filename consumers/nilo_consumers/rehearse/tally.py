"""How many records of a place decode and how many break, by what is wrong, with examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nilo_consumers.rehearse.judge import Fault

_EXAMPLES = 5


@dataclass
class Kind:
    """Records that have the same fault: how many, what the first one's is, and where some are."""

    problem: str
    records: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, where: str) -> None:
        """One more."""
        self.records += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(where)


@dataclass
class Kinds:
    """The faults of some records by reason and field: memory does not follow the records."""

    found: dict[tuple[str, str], Kind] = field(default_factory=dict)

    def add(self, faults: Mapping[int, Fault], where: Callable[[int], str]) -> None:
        """Count faults by index; `where` says where the record of an index is."""
        for index, fault in faults.items():
            key = fault.reason, fault.field
            self.found.setdefault(key, Kind(fault.problem)).add(where(index))

    @property
    def records(self) -> int:
        """All of them."""
        return sum(kind.records for kind in self.found.values())

    def as_json(self) -> list[dict[str, Any]]:
        """The most frequent first."""
        ordered = sorted(self.found.items(), key=lambda item: (-item[1].records, item[0]))
        return [{"reason": key[0], "field": key[1], **vars(kind)} for key, kind in ordered]


@dataclass
class Tally:
    """The records of one place.

    Args:
        records: all that are there.
        looked: those that were decoded; fewer, where a sample was drawn.
        already: those that are bad today as well (`judge.Verdict`).
        breaks: those that the new contract breaks.
    """

    records: int = 0
    looked: int = 0
    already: int = 0
    breaks: Kinds = field(default_factory=Kinds)

    def as_json(self) -> dict[str, Any]:
        """The counts and what breaks."""
        broken = self.breaks.records
        return {
            "records": self.records,
            "looked": self.looked,
            "decode": self.looked - broken - self.already,
            "break": broken,
            "already": self.already,
            "breaks": self.breaks.as_json(),
        }
