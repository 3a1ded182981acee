"""The receipt of an erasure: what went from where, what is left, and until when Kafka holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

KAFKA = "kafka"


@dataclass(frozen=True)
class Line:
    """A topic in one place.

    Args:
        place: postgres, sqlite, parquet, archive, kafka.
        topic: without prefix; "": the place as a whole.
        rows: erased; in a count or `verify` those that are there; in Kafka the records that are
            there still (None: not looked at).
        files: of the lake and the archive, how many were written anew or removed.
        reached: by partition, the next offset of the store's sink when its rows went: later events
            come as new rows.
        behind: how many messages of the topic the sink has yet to come to (None: not known).
        until: in Kafka, the latest moment at which retention removes what is there; None: no limit.
        note: what is to be known about it.
        left: why it is not done, or not wholly; None: it is.
    """

    place: str
    topic: str = ""
    rows: int | None = 0
    files: int = 0
    reached: Mapping[int, int] = field(default_factory=dict)
    behind: int | None = None
    until: datetime | None = None
    note: str = ""
    left: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The line as JSON types; what does not concern its place is left out."""
        plain: dict[str, Any] = {"place": self.place, "topic": self.topic, "rows": self.rows}
        if self.place == KAFKA:
            plain["until"] = self.until and self.until.isoformat(timespec="seconds")
        else:
            plain |= {"files": self.files, "behind": self.behind}
            plain["reached"] = {str(number): at for number, at in self.reached.items()}
        return plain | {"note": self.note, "left": self.left}


@dataclass(frozen=True)
class Receipt:
    """What one run has done, or found. It does not name the subject: `erasure` is a random id.

    Args:
        erasure: the id that stands beside the erased offsets in PostgreSQL and SQLite; None:
            nothing was erased (a count, or `verify`).
        began, ended: in UTC.
        lines: place by place.
    """

    erasure: str | None
    began: datetime
    ended: datetime
    lines: Sequence[Line]

    @property
    def left(self) -> list[Line]:
        """The lines that are not done."""
        return [line for line in self.lines if line.left]

    @property
    def stored(self) -> list[Line]:
        """The lines of the stores, which can be erased; not those of Kafka."""
        return [line for line in self.lines if line.place != KAFKA]

    def as_json(self) -> dict[str, Any]:
        """The receipt as JSON types."""
        return {
            "erasure": self.erasure,
            "began": self.began.isoformat(timespec="seconds"),
            "ended": self.ended.isoformat(timespec="seconds"),
            "complete": not self.left,
            "lines": [line.as_json() for line in self.lines],
        }


def with_behind(lines: Sequence[Line], ends: Mapping[str, Mapping[int, int]]) -> list[Line]:
    """The lines of stores with how far their sinks are behind the ends of the topics in Kafka."""
    return [
        replace(line, behind=_behind(line.reached, ends[line.topic]))
        if line.reached and line.topic in ends
        else line
        for line in lines
    ]


def _behind(reached: Mapping[int, int], ends: Mapping[int, int]) -> int:
    return sum(max(0, end - reached.get(number, 0)) for number, end in ends.items())
