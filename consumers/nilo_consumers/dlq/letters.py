"""Dead letters as they lie in Kafka, and which of them are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from confluent_kafka import Message

from nilo_consumers.audit.in_kafka import InKafka
from nilo_consumers.decoding import headers_of
from nilo_schemas.contracts import stored_records
from nilo_schemas.dead_letters import Origin, Story, dead_letter_topic, story_of
from nilo_schemas.errors import Reason
from nilo_schemas.results import PARTIALS_TOPIC

# The reason of what lies among the dead letters and is none of ours.
FOREIGN = "foreign"
REASONS = (*map(str, Reason), FOREIGN)


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Args:
        topic: whose dead letters it lies among, without prefix.
        at: when it came to Kafka.
        story: what its headers tell; None when they are not ours.
        message: key, value and headers.
    """

    topic: str
    at: datetime
    story: Story | None
    message: Message

    @property
    def connector(self) -> str:
        """Who gave up on the message; empty when nobody says so."""
        return self.story.connector if self.story else ""

    @property
    def reason(self) -> str:
        """Why; a value of `Reason`, or FOREIGN."""
        return self.story.reason if self.story else FOREIGN

    @property
    def lacks_value(self) -> bool:
        """Whether the message had a value that is at its origin only, if it is there still."""
        return self.message.value() is None and self.reason != Reason.EMPTY


@dataclass(frozen=True)
class Chosen:
    """Which letters are asked for.

    Args:
        topics: without prefix.
        reasons, connectors: only these; none: all.
        since, until: when they came to Kafka, `[since, until)`.
        origin: only those of this message.
    """

    topics: Sequence[str]
    reasons: Collection[str] = ()
    connectors: Collection[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    origin: Origin | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether it is asked for; its topic is one of `topics`."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.connectors or letter.connector in self.connectors)
            and (self.since is None or letter.at >= self.since)
            and (self.until is None or letter.at < self.until)
            and (self.origin is None or (letter.story and letter.story.origin) == self.origin)
        )


def lettered_topics() -> list[str]:
    """The topics that have dead letters, without prefix."""
    return [*stored_records(), PARTIALS_TOPIC]


def letters(kafka: InKafka, topic: str, prefix: str) -> Iterator[list[Letter]]:
    """The dead letters of a topic (without prefix), some at a time.

    Raises:
        UnreachableError: the brokers do not answer.
    """
    for messages in kafka.messages(dead_letter_topic(topic)):
        yield [_letter(topic, prefix + topic, each) for each in messages]


def _letter(topic: str, full_name: str, message: Message) -> Letter:
    story = story_of(headers_of(message))
    if story and story.origin.topic != full_name:
        story = None
    at = datetime.fromtimestamp(max(0, message.timestamp()[1]) / 1000, UTC)
    return Letter(topic, at, story, message)
