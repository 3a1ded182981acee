"""Messages through their topics again, each at most once, whoever dies or runs beside.

Kafka's transactions are of no use here: the processors read what is not committed, and the marks
of transactions would take offsets that no store has. So a run writes what it is about to send, with
the end of the partition, before it sends, and what it has sent afterwards. A run that finds such an
intent without an end to it looks from there on for the message.

As nobody knows whether the other run is dead or slow, an intent holds for LEASE seconds: within
them a run sends what it has announced or never does, and after them what was sent has arrived or
never does. As with the lease of the processors, librdkafka is trusted to mind its timeouts.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nilo_consumers.batch import Span
from nilo_consumers.decoding import TopicPart
from nilo_consumers.dlq.history import Entry, History, Intent, begun, ended, sent
from nilo_consumers.dlq.target import Delivered, Parcel
from nilo_schemas.dead_letters import Origin
from nilo_schemas.errors import UnreachableError

LEASE = 10.0  # seconds


class Writes(Protocol):
    """The topic of redrives; see `Journal`."""

    def read(self) -> History:
        """All that it holds by now."""
        ...

    def write(self, entries: Iterable[Entry]) -> None:
        """Write records in this order; returns when Kafka has them."""
        ...


class Takes(Protocol):
    """The partitions; see `Target`."""

    def spans(self, parts: Iterable[TopicPart]) -> dict[TopicPart, Span]:
        """First and next offset of these partitions."""
        ...

    def send(self, parcels: Sequence[Parcel]) -> Delivered:
        """Send all, each once, and wait until it is known what became of them."""
        ...

    def find(self, part: TopicPart, since: int) -> dict[Origin, int]:
        """The redriven messages in a partition from an offset on, and where they lie."""
        ...


@dataclass
class Sender:
    """Sends parcels; `settle` comes first.

    Args:
        clock: monotonic seconds.
        wait: waits so many seconds.
    """

    journal: Writes
    target: Takes
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep
    _run: str = field(default_factory=lambda: uuid.uuid4().hex)
    _over: dict[Origin, set[str]] = field(default_factory=lambda: defaultdict(set))
    lost: set[Origin] = field(default_factory=set)
    """Of which nobody can tell any more whether they were sent."""

    def settle(self, tell: Callable[[str], None]) -> None:
        """Find out what became of the messages that other runs have announced.

        1. wait until the intents are over that are there now
        2. look for the messages where they were to be sent
        3. write down which are there; the others may be sent anew
        """
        seen = self.journal.read().open()
        if not seen:
            return
        tell(f"another run was cut short, or is at work: waiting {LEASE:g} s")
        self.wait(LEASE)  # 1
        still = self.journal.read().open()
        over = {
            o: {r: i for r, i in runs.items() if r in seen.get(o, {})} for o, runs in still.items()
        }
        found = self._found({origin: runs for origin, runs in over.items() if runs})  # 2
        self.journal.write(
            entry
            for origin, offset in found.items()
            for entry in (sent(origin, offset), *(ended(origin, run) for run in over[origin]))
        )  # 3
        self.journal.read()

    def _found(self, over: dict[Origin, dict[str, Intent]]) -> dict[Origin, int]:
        """Where the announced messages lie that were sent; notes the others."""
        firsts = {origin: min(each.end for each in runs.values()) for origin, runs in over.items()}
        since: dict[TopicPart, int] = {}
        for origin, first in firsts.items():
            since[origin[:2]] = min(first, since.get(origin[:2], first))
        spans = self.target.spans(since)
        found: dict[Origin, int] = {}
        for part in spans:
            found |= self.target.find(part, since[part])
        for origin, first in firsts.items():
            span = spans.get(origin[:2], Span(first, first))
            if origin not in found and span.start > first:
                self.lost.add(origin)
            self._over[origin] |= over[origin].keys()
        return {origin: offset for origin, offset in found.items() if origin in over}

    def send(self, parcels: Sequence[Parcel]) -> Delivered:
        """Send those that no other run has sent or is about to send.

        1. note where their partitions end
        2. announce them, and read the announcements of all up to there
        3. send those that this run was the first to announce
        4. write down which are sent, and take the other announcements back

        Raises:
            UnreachableError: Kafka does not answer in time; what was sent the next run finds out.
        """
        spans = self.target.spans({parcel.part for parcel in parcels})  # 1
        until = self.clock() + LEASE / 2
        self.journal.write(
            begun(each.origin, self._run, spans[each.part].end) for each in parcels
        )  # 2
        history = self.journal.read()
        mine = [each for each in parcels if self._may_send(history, each.origin)]
        if self.clock() > until:
            raise UnreachableError("Kafka took too long to take the announcements; run it again")
        told = self.target.send(mine)  # 3
        self.journal.write(self._ends(parcels, mine, told))  # 4
        if told.unknown:
            raise UnreachableError(
                f"{len(told.unknown)} messages may or may not have been sent ({told.unknown[0]}); "
                "run it again: it looks first whether they arrived"
            )
        return told

    def _may_send(self, history: History, origin: Origin) -> bool:
        return history.is_first(origin, self._run, self._over[origin])

    def _ends(
        self, parcels: Sequence[Parcel], mine: Sequence[Parcel], told: Delivered
    ) -> Iterable[Entry]:
        """What is written when it is known what became of the messages."""
        for origin, offset in told.offsets.items():
            yield sent(origin, offset)
            yield from (ended(origin, run) for run in (self._run, *self._over[origin]))
        others = {parcel.origin for parcel in parcels} - {parcel.origin for parcel in mine}
        for origin in others | told.too_large:
            yield ended(origin, self._run)
