"""What was redriven, as the topic `redrives` tells it: the rules, without Kafka.

A run announces each message that it is about to send by an *intent*, reads the topic up to there,
and sends only where its intent is the first. The topic has one partition, so all runs see the same
order.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from nilo_schemas.dead_letters import Origin

Entry = tuple[str, dict[str, Any] | None]


@dataclass(frozen=True)
class Intent:
    """That a run is about to send a message.

    Args:
        place: its offset in the topic of redrives.
        end: where the partition ended to which the message goes: it lies there or behind.
    """

    place: int
    end: int


@dataclass
class History:
    """All that was redriven, and what was begun.

    Attributes:
        sent: through their topic again: the offset that each has now.
        stored: given to one store: origin and name of the store.
        begun: by origin, the intents that nobody has ended, by run.
    """

    sent: dict[Origin, int] = field(default_factory=dict)
    stored: set[tuple[Origin, str]] = field(default_factory=set)
    begun: dict[Origin, dict[str, Intent]] = field(default_factory=dict)

    def take(self, place: int, key: str, value: Mapping[str, Any] | None) -> None:
        """Take the next record of the topic in; `value` None is a tombstone."""
        name, *more = key.split(" ")
        origin = Origin.parse(name)
        match more:
            case []:
                self.sent[origin] = int((value or {})["offset"])
            case ["into", store]:
                self.stored.add((origin, store))
            case ["begun", run]:
                runs = self.begun.setdefault(origin, {})
                if value is None:
                    runs.pop(run, None)
                else:
                    runs[run] = Intent(place, int(value["end"]))
            case _:
                raise ValueError(key)

    def done(self, origin: Origin, connector: str) -> bool:
        """Whether a letter of this connector was redriven."""
        return origin in self.sent or (origin, connector) in self.stored

    def open(self) -> dict[Origin, dict[str, Intent]]:
        """The intents of which nobody knows whether their messages were sent."""
        return {
            origin: dict(runs)
            for origin, runs in self.begun.items()
            if runs and origin not in self.sent
        }

    def is_first(self, origin: Origin, run: str, over: Collection[str]) -> bool:
        """Whether a run may send a message that it has announced.

        Args:
            over: runs whose intents are over: they send nothing any more and have not sent it.
        """
        runs = self.begun.get(origin, {})
        if origin in self.sent or run not in runs:  # another run, to which this one was over
            return False
        earlier = {other for other, intent in runs.items() if intent.place < runs[run].place}
        return earlier <= set(over)


def begun(origin: Origin, run: str, end: int) -> Entry:
    """That a run is about to send a message to a partition which ends at `end`."""
    return f"{origin} begun {run}", {"end": end}


def ended(origin: Origin, run: str) -> Entry:
    """That its intent is no more: the message was sent, or never will be by this run."""
    return f"{origin} begun {run}", None


def sent(origin: Origin, offset: int) -> Entry:
    """That a message was sent, and which offset it has now."""
    return str(origin), {"offset": offset}


def stored(origin: Origin, store: str) -> Entry:
    """That a store has a message which it had refused or not read, at its origin's offset."""
    return f"{origin} into {store}", {}


def parsed(raw: bytes | None) -> dict[str, Any] | None:
    """The value of a record; raises ValueError."""
    value = None if raw is None else json.loads(raw)
    if not (value is None or isinstance(value, dict)):
        raise ValueError(raw)
    return value
