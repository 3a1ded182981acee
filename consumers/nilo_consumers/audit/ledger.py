"""One line of the ledger: a partition in a store, and whether every message has its place there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nilo_consumers.audit.spans import Spans, both, count, minus, repeated, union
from nilo_consumers.batch import Span

_END = 2**63 - 1


@dataclass(frozen=True)
class Held:
    """What a store says of one partition.

    Args:
        next_offset: how far its sink has come; None: it has never written.
        rows: the offsets of its rows, in any order; those of a row that is there twice overlap.
    """

    next_offset: int | None
    rows: Spans


NOTHING = Held(None, [])


@dataclass(frozen=True)
class Entry:
    """A partition in a store.

    Every offset of `passed` is a row or has a reason for being none (`absent` counts these);
    what is neither is in `missing`. `behind` counts the messages that the sink has not come to,
    `older` the rows whose messages Kafka has deleted since, `also_dead` the rows that have a dead
    letter as well, as a redrive leaves them.
    """

    topic: str
    partition: int
    store: str
    passed: Span
    rows: int
    absent: Mapping[str, int]
    behind: int
    older: int
    also_dead: int
    missing: Spans
    doubled: Spans
    beyond: Spans

    @property
    def clean(self) -> bool:
        """Whether nothing is lost, twice, or beyond what the store's own offsets say."""
        return not (self.missing or self.doubled or self.beyond)

    def as_json(self) -> dict[str, Any]:
        """The line as JSON types; stretches as `[first, last]`."""
        plain = {
            "topic": self.topic,
            "partition": self.partition,
            "store": self.store,
            "first_offset": self.passed.start,
            "next_offset": self.passed.end,
            "rows": self.rows,
            "absent": dict(sorted(self.absent.items())),
            "behind": self.behind,
            "older": self.older,
            "also_dead": self.also_dead,
        }
        faults = {"missing": self.missing, "doubled": self.doubled, "beyond": self.beyond}
        return plain | {name: _pairs(spans) for name, spans in faults.items()}


def entry(
    place: tuple[str, int, str],
    asked: Span,
    held: Held,
    absent: Mapping[str, Spans],
    *,
    whole: bool,
) -> Entry:
    """Compare what Kafka has with what a store has.

    Args:
        place: topic, partition, store.
        asked: the offsets to look at, all of which are in Kafka.
        held: what the store says.
        absent: by reason, the offsets that have no row on purpose.
        whole: whether `asked` is all that Kafka has: then rows before it are `older` ones, and
            there may be none behind it.
    """
    end = max(asked.start, min(asked.end, held.next_offset or 0))
    passed = Span(asked.start, end)
    rows, excused = union(held.rows), union(span for spans in absent.values() for span in spans)
    return Entry(
        *place,
        passed=passed,
        rows=sum(count(both([span], [passed])) for span in held.rows),
        absent={reason: count(both(spans, [passed])) for reason, spans in absent.items()},
        behind=asked.end - end,
        older=count(both(rows, [Span(0, asked.start)])) if whole else 0,
        also_dead=count(both(both(rows, excused), [passed])),
        missing=minus(minus([passed], rows), excused),
        doubled=both(repeated(held.rows), [passed]),
        beyond=both(rows, [Span(end, _END if whole else asked.end)]),
    )


def _pairs(spans: Spans) -> list[list[int]]:
    return [[span.start, span.end - 1] for span in spans]
