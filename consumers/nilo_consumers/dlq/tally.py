"""What a redrive did, counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nilo_consumers.dlq.cases import Case
from nilo_consumers.dlq.letters import FOREIGN
from nilo_consumers.dlq.plan import Act, Failure, Verdict
from nilo_schemas.dead_letters import Origin

NOT_OURS = "its headers do not say where it was read"


@dataclass
class Line:
    """Letters of one topic and reason of which became the same.

    Attributes:
        into: the store that was given the message; empty: all readers, or nobody.
        why: why nothing was done.
        detail: of one of them, more about it.
        letters: how many letters.
        messages: of which messages; nobody knows whose the foreign ones are.
    """

    topic: str
    reason: str
    act: Act
    into: str
    why: str
    detail: str
    letters: int = 0
    messages: set[Origin] = field(default_factory=set)

    def as_json(self) -> dict[str, Any]:
        """The line as JSON types."""
        return {
            "topic": self.topic,
            "reason": self.reason,
            "outcome": str(self.act),
            "into": self.into,
            "origins": len(self.messages),
            "letters": self.letters,
            "why": f"{self.why}: {self.detail}" if self.detail else self.why,
        }


class Tally:
    """The lines, as they grow."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str, Act, str, str], Line] = {}

    def foreign(self, topic: str, letters: int) -> None:
        """Count letters that are none of ours."""
        if letters:
            self._line(Line(topic, FOREIGN, Act.LEFT, "", NOT_OURS, "")).letters += letters

    def case(self, case: Case, act: Act, *, why: str = "", detail: str = "") -> None:
        """Count all letters of a message that are asked for."""
        for failure in set(case.known.asked):
            self.failure(case, failure, Verdict(act, why), detail=detail)

    def failure(
        self, case: Case, failure: Failure, verdict: Verdict, *, into: str = "", detail: str = ""
    ) -> None:
        """Count the letters of one failure of a message, as far as they are asked for."""
        if number := case.known.asked.count(failure):
            new = Line(case.letter.topic, failure[1], verdict.act, into, verdict.why, detail)
            line = self._line(new)
            line.letters += number
            line.messages.add(case.origin)

    def lines(self) -> list[Line]:
        """By topic and reason."""
        return [self._lines[key] for key in sorted(self._lines)]

    def _line(self, new: Line) -> Line:
        # The detail of the first one stands for all.
        return self._lines.setdefault((new.topic, new.reason, new.act, new.into, new.why), new)
