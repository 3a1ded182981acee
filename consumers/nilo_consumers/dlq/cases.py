"""The messages that have dead letters: which letters each has, and which of them carries it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from nilo_consumers.audit.in_kafka import InKafka
from nilo_consumers.dlq.letters import Chosen, Letter, letters
from nilo_consumers.dlq.plan import Failure
from nilo_schemas.dead_letters import Origin, Story

_ROUND = 500  # messages
_SIZE = 8 * 1024 * 1024  # bytes: so much is sent well within a lease


@dataclass(slots=True)
class Known:
    """What the letters of a message say; there may be millions of these.

    Attributes:
        failures: of all letters.
        asked: of those that are asked for.
        carrier: the offset of the letter that is read for the message.
        whole: whether that letter has the value.
    """

    failures: tuple[Failure, ...] = ()
    asked: tuple[Failure, ...] = ()
    carrier: int = -1
    whole: bool = False

    def add(self, letter: Letter, *, asked: bool) -> None:
        """Take a letter of the message in."""
        failure = letter.connector, letter.reason
        self.failures = _with(self.failures, failure)
        if asked:
            self.asked = _with(self.asked, failure)
        if self.carrier < 0 or not (self.whole or letter.lacks_value):
            self.carrier, self.whole = letter.message.offset() or 0, not letter.lacks_value


@lru_cache(maxsize=10_000)
def _with(failures: tuple[Failure, ...], one: Failure) -> tuple[Failure, ...]:
    """The same with one more; equal ones are one object."""
    return (*failures, one)


@dataclass(frozen=True)
class Case:
    """A message that has letters, and the letter that carries it."""

    known: Known
    letter: Letter
    story: Story

    @property
    def origin(self) -> Origin:
        """Where the message was read."""
        return self.story.origin


def known_by_origin(
    kafka: InKafka, topic: str, prefix: str, chosen: Chosen
) -> tuple[dict[Origin, Known], int]:
    """The messages with a letter that is asked for, and how many foreign letters are.

    Raises:
        UnreachableError: the brokers do not answer.
    """
    found: dict[Origin, Known] = {}
    foreign = 0
    for some in letters(kafka, topic, prefix):
        for letter in some:
            asked = chosen.takes(letter)
            if letter.story is None:
                foreign += asked
            else:
                found.setdefault(letter.story.origin, Known()).add(letter, asked=asked)
    return {origin: known for origin, known in found.items() if known.asked}, foreign


def rounds(
    kafka: InKafka, topic: str, prefix: str, found: Mapping[Origin, Known]
) -> Iterator[list[Case]]:
    """The messages with their carriers, a few hundred at a time.

    Raises:
        UnreachableError: the brokers do not answer.
    """
    held: list[Case] = []
    size = 0
    for some in letters(kafka, topic, prefix):
        for letter in some:
            known = found.get(letter.story.origin) if letter.story else None
            if letter.story is None or known is None or known.carrier != letter.message.offset():
                continue
            held.append(Case(known, letter, letter.story))
            size += len(letter.message.value() or b"")
            if len(held) >= _ROUND or size >= _SIZE:
                yield held
                held, size = [], 0
    if held:
        yield held
