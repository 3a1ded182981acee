"""Dead letters counted by topic, connector and reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nilo_consumers.audit.in_kafka import InKafka
from nilo_consumers.dlq.history import History
from nilo_consumers.dlq.letters import Chosen, Letter, letters


@dataclass
class Group:
    """Letters of one topic, connector and reason.

    Attributes:
        letters: how many; a crash may have made two of the same message.
        origins: of which messages.
        redriven: those of them that were redriven.
        first, last: when the oldest and the newest letter came to Kafka.
        attempts: how often the message was tried that was tried most: 1, or more after a redrive.
    """

    topic: str
    connector: str
    reason: str
    first: datetime
    last: datetime
    letters: int = 0
    attempts: int = 1
    origins: set[int] = field(default_factory=set)
    redriven: set[int] = field(default_factory=set)

    def add(self, letter: Letter, history: History) -> None:
        """Count one more."""
        self.letters += 1
        self.first, self.last = min(self.first, letter.at), max(self.last, letter.at)
        if (story := letter.story) is None:
            return
        # One number for both: there may be millions.
        place = story.origin.partition << 63 | story.origin.offset
        self.attempts = max(self.attempts, story.attempt)
        self.origins.add(place)
        if history.done(story.origin, story.connector):
            self.redriven.add(place)

    def as_json(self) -> dict[str, Any]:
        """The group as JSON types."""
        return {
            "topic": self.topic,
            "connector": self.connector,
            "reason": self.reason,
            "letters": self.letters,
            "origins": len(self.origins),
            "redriven": len(self.redriven),
            "attempts": self.attempts,
            "first": self.first.isoformat(timespec="seconds"),
            "last": self.last.isoformat(timespec="seconds"),
        }


def listed(kafka: InKafka, chosen: Chosen, prefix: str, history: History) -> list[Group]:
    """The letters that are asked for, counted; in order of topic, reason and connector.

    Raises:
        UnreachableError: the brokers do not answer.
    """
    groups: dict[tuple[str, str, str], Group] = {}
    for letter in _asked_for(kafka, chosen, prefix):
        key = letter.topic, letter.reason, letter.connector
        if key not in groups:
            groups[key] = Group(letter.topic, letter.connector, letter.reason, letter.at, letter.at)
        groups[key].add(letter, history)
    return [groups[key] for key in sorted(groups)]


def newest(kafka: InKafka, chosen: Chosen, prefix: str, number: int) -> list[Letter]:
    """The newest of the letters that are asked for, newest first.

    Raises:
        UnreachableError: the brokers do not answer.
    """
    kept: list[Letter] = []
    for letter in _asked_for(kafka, chosen, prefix):
        kept.append(letter)
        if len(kept) > 2 * number:
            kept = _newest(kept, number)
    return _newest(kept, number)


def _newest(some: Iterable[Letter], number: int) -> list[Letter]:
    return sorted(some, key=lambda letter: letter.at, reverse=True)[:number]


def _asked_for(kafka: InKafka, chosen: Chosen, prefix: str) -> Iterator[Letter]:
    for topic in chosen.topics:
        for some in letters(kafka, topic, prefix):
            yield from filter(chosen.takes, some)
