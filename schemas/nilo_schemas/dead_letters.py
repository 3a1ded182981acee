"""Dead letters: where a message that cannot be used goes, and the headers that tell its story.

Key, value and headers of the message stay untouched; the origin stands in Kafka Connect's headers
(which most tools read), the reason code in our own.
"""

from __future__ import annotations

from datetime import UTC, datetime

from nilo_schemas.errors import Reason

DLQ = "dlq."
Header = tuple[str, bytes]


def dead_letter_topic(topic: str, prefix: str = "") -> str:
    """The dead-letter topic of a full topic name: `<prefix>dlq.<topic without prefix>`."""
    return f"{prefix}{DLQ}{topic.removeprefix(prefix)}"


def dead_letter_headers(
    original: list[Header] | None,
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
    story = {
        "__connect.errors.topic": topic,
        "__connect.errors.partition": str(partition),
        "__connect.errors.offset": str(offset),
        "__connect.errors.connector.name": connector,
        "__connect.errors.stage": stage,
        "__connect.errors.exception.message": detail,
        "x-nilo-error-code": str(reason),
        "x-nilo-attempt": "1",
        "x-nilo-first-failed-at": failed_at.isoformat(),
    }
    told = ((name, value.encode(errors="replace")) for name, value in story.items())
    return [*(original or []), *told]
