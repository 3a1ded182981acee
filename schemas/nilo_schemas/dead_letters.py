"""Dead letters: where a message that cannot be used goes, and the headers that tell its story.

Key, value and headers of the message stay untouched; the origin stands in Kafka Connect's headers
(which most tools read), the reason code in our own. What `nilo dlq redrive` sends has the headers
of the message as it was, and two that tell where it was before and how often it was tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from nilo_schemas.errors import Reason

DLQ = "dlq."
# What was redriven, by origin: a compacted topic of one partition.
REDRIVES_TOPIC = "redrives"
REDRIVEN_FROM, ATTEMPT = "x-nilo-redriven-from", "x-nilo-attempt"
_STORY = (
    "__connect.errors.topic",
    "__connect.errors.partition",
    "__connect.errors.offset",
    "__connect.errors.connector.name",
    "__connect.errors.stage",
    "__connect.errors.exception.message",
    "x-nilo-error-code",
    ATTEMPT,
    "x-nilo-first-failed-at",
)
Header = tuple[str, bytes | None]


class Origin(NamedTuple):
    """Where a message was read: the full name of its topic, its partition and its offset."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Origin:
        """The origin that `topic:partition:offset` names; raises ValueError."""
        topic, partition, offset = text.split(":")
        if not (topic and partition.isdecimal() and offset.isdecimal()):
            raise ValueError(text)
        return cls(topic, int(partition), int(offset))


@dataclass(frozen=True, slots=True)
class Story:
    """What the headers of a dead letter tell.

    Args:
        origin: where its message was read.
        connector: the program that gave up on it.
        stage: what that was doing, in Kafka Connect's words.
        reason: a value of `Reason`.
        detail: what was wrong, in words.
        attempt: 1, or more for a message that was redriven.
        first_failed_at: when, as an ISO time.
    """

    origin: Origin
    connector: str
    stage: str
    reason: str
    detail: str
    attempt: int
    first_failed_at: str


def dead_letter_topic(topic: str, prefix: str = "") -> str:
    """The dead-letter topic of a full topic name: `<prefix>dlq.<topic without prefix>`."""
    return f"{prefix}{DLQ}{topic.removeprefix(prefix)}"


def dead_letter_headers(
    original: Sequence[Header] | None,
    *,
    topic: str,
    partition: int,
    offset: int,
    connector: str,
    stage: str,
    reason: Reason,
    detail: str,
    failed_at: datetime | None = None,
) -> list[Header]:
    """The headers of a dead letter: the original ones, then where it came from and why.

    Args:
        connector: the program that gave up on it, such as `processors` or `postgres`.
        stage: what it was doing: `VALUE_CONVERTER` or `TASK_PUT`, in Kafka Connect's words.
        failed_at: when it first failed (default: now).
    """
    failed_at = failed_at or datetime.now(UTC)
    told = (
        *(topic, str(partition), str(offset), connector, stage, detail),
        *(str(reason), str(_attempt_of(dict(original or []))), failed_at.isoformat()),
    )
    values = (value.encode(errors="replace") for value in told)
    return [*(original or []), *zip(_STORY, values, strict=True)]


def story_of(headers: Sequence[Header]) -> Story | None:
    """What the headers of a dead letter tell; None when they are not ours."""
    last = headers[-len(_STORY) :]
    if tuple(name for name, _ in last) != _STORY:
        return None
    topic, partition, offset, connector, stage, detail, reason, attempt, failed_at = (
        (value or b"").decode(errors="replace") for _, value in last
    )
    try:
        origin = Origin.parse(f"{topic}:{partition}:{offset}")
    except ValueError:
        return None
    return Story(origin, connector, stage, reason, detail, _number(attempt), failed_at)


def without_story(letter: Sequence[Header]) -> Sequence[Header]:
    """The headers that the message of a dead letter (of ours) had itself."""
    return letter[: -len(_STORY)]


def redriven_headers(own: Sequence[Header], story: Story) -> list[Header]:
    """The headers with which a message that has these of its own is sent again."""
    return [
        *(each for each in own if each[0] not in (REDRIVEN_FROM, ATTEMPT)),
        (REDRIVEN_FROM, str(story.origin).encode()),
        (ATTEMPT, str(story.attempt + 1).encode()),
    ]


def of_redrive(headers: Iterable[Header] | None) -> list[Header]:
    """Those of a message's headers that a redrive has given it."""
    return [each for each in headers or [] if each[0] in (REDRIVEN_FROM, ATTEMPT)]


def _attempt_of(original: dict[str, bytes | None]) -> int:
    if REDRIVEN_FROM not in original:
        return 1
    return _number((original.get(ATTEMPT) or b"").decode(errors="replace"))


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 1
