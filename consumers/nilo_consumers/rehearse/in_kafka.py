"""The retained records of a topic and its dead letters, read with a new contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

from confluent_kafka import Message

from nilo_consumers.audit.in_kafka import InKafka
from nilo_consumers.decoding import headers_of
from nilo_consumers.rehearse.judge import Judge, Values
from nilo_consumers.rehearse.sample import Sample
from nilo_consumers.rehearse.tally import Kind, Kinds, Tally
from nilo_schemas.dead_letters import Story, dead_letter_topic, story_of
from nilo_schemas.errors import DecodeError, Reason
from nilo_schemas.framing import by_prefix, schema_id_of

# A partition and the id of its writer's schema; None: the message has no such id.
Stratum = tuple[int, int | None]
# Called with the place, and how many of how many records have been read.
Progress = Callable[[str, int, int], None]
Record = tuple[int, bytes | None]
# The letters with one of these did not decode; all others did.
UNDECODED = (
    Reason.EMPTY,
    Reason.FRAMING,
    Reason.UNKNOWN_SCHEMA,
    Reason.CORRUPT,
    Reason.INCOMPATIBLE,
    Reason.INVALID,
)


def retained(
    kafka: InKafka, topic: str, judge: Judge, *, sample: int | None, progress: Progress
) -> dict[Stratum, Tally]:
    """What Kafka holds of a topic (without prefix), by partition and writer's schema.

    Every record is fetched, so that no writer is overlooked; with `sample` only so many of each
    stratum are decoded, spread evenly over the offsets.

    Raises:
        UnreachableError: the brokers or the registry do not answer.
    """
    found: dict[Stratum, Tally] = {}
    held: dict[Stratum, Sample[Record]] = {}
    for messages in _read(kafka, topic, progress):
        for stratum, records in _by_stratum(messages).items():
            tally = found.setdefault(stratum, Tally())
            tally.records += len(records)
            if sample is None:
                _judge(tally, judge, f"{topic}/{stratum[0]}", records)
            else:
                held.setdefault(stratum, Sample(sample)).offer(records)
    for stratum, drawn in held.items():
        _judge(found[stratum], judge, f"{topic}/{stratum[0]}", drawn.drawn())
    return dict(sorted(found.items(), key=lambda item: (item[0][0], item[0][1] or -1)))


def _read(kafka: InKafka, topic: str, progress: Progress) -> Any:
    total = sum(span.end - span.start for span in kafka.bounds(topic).values())
    done = 0
    for messages in kafka.messages(topic):
        yield messages
        done += len(messages)
        progress(topic, done, total)


def _by_stratum(messages: Sequence[Message]) -> dict[Stratum, list[Record]]:
    values = [message.value() for message in messages]
    records = list(zip((message.offset() or 0 for message in messages), values, strict=True))
    partition = messages[0].partition() or 0
    found: dict[Stratum, list[Record]] = {}
    for prefix, indexes in by_prefix(values).items():
        group = [records[index] for index in indexes]
        found.setdefault((partition, _schema_id(prefix)), []).extend(group)
    return found


def _schema_id(prefix: bytes | None) -> int | None:
    try:
        return None if prefix is None else schema_id_of(prefix)
    except DecodeError:
        return None


def _judge(tally: Tally, judge: Judge, place: str, records: Sequence[Record]) -> None:
    verdict = judge([value for _, value in records])
    tally.looked += len(records)
    tally.already += len(verdict.already)
    tally.breaks.add(verdict.breaks, lambda index: f"{place}/{records[index][0]}")


@dataclass
class Letters:
    """The dead letters of a topic with one reason: how many, which would decode now, which not."""

    letters: int = 0
    succeed: Kind = field(default_factory=lambda: Kind(""))
    fail: Kinds = field(default_factory=Kinds)

    def as_json(self) -> dict[str, Any]:
        """The counts, examples by origin, and what is wrong with the others."""
        return {
            "letters": self.letters,
            "succeed": self.succeed.records,
            "examples": self.succeed.examples,
            "fail": self.fail.records,
            "failures": self.fail.as_json(),
        }


def dead_letters(
    kafka: InKafka, topic: str, judge: Judge, progress: Progress
) -> dict[str, Letters]:
    """The dead letters of a topic by reason; those that did decode then are only counted.

    Raises:
        UnreachableError: the brokers or the registry do not answer.
    """
    found: dict[str, Letters] = {}
    name = dead_letter_topic(topic)
    for messages in _read(kafka, name, progress):
        stories = [story_of(headers_of(message)) for message in messages]
        reasons = [_reason(message) for message in messages]
        for reason in set(reasons):
            chosen = [each == reason for each in reasons]
            letters = found.setdefault(reason, Letters())
            letters.letters += sum(chosen)
            if reason in UNDECODED:
                origins = [_origin(topic, story) for story in compress(stories, chosen)]
                values = [message.value() for message in compress(messages, chosen)]
                _sort(letters, judge, origins, values)
    return found


def _sort(letters: Letters, judge: Judge, origins: Sequence[str], values: Values) -> None:
    failures = judge.failures(values)
    letters.fail.add(failures, lambda index: origins[index])
    for index, origin in enumerate(origins):
        if index not in failures:
            letters.succeed.add(origin)


def _reason(message: Message) -> str:
    found = dict(headers_of(message)).get("x-nilo-error-code")
    return found.decode(errors="replace") if found else "?"


def _origin(topic: str, story: Story | None) -> str:
    """Where a letter came from; one that is not ours says nothing."""
    return f"{topic}/{story.origin.partition}/{story.origin.offset}" if story else "?"
