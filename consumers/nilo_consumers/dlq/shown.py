"""One dead letter with all that is known of it, and its value as far as it can be read."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import fastavro

from nilo_consumers.dlq.history import History
from nilo_consumers.dlq.letters import Letter
from nilo_consumers.dlq.readable import written
from nilo_consumers.refused import message_at
from nilo_schemas.codec import decode
from nilo_schemas.contracts import records
from nilo_schemas.errors import DecodeError
from nilo_schemas.framing import PREFIX, schema_id_of
from nilo_schemas.settings import Settings

WriterSchema = Callable[[int], dict[str, Any]]
_HEX = 64  # bytes


def shown(
    settings: Settings, letter: Letter, writer_schema: WriterSchema, history: History
) -> dict[str, Any]:
    """A dead letter as JSON types.

    `event` is the value as it is read today; where that fails `problem` says why, `written` has
    what its writer's schema makes of it, and `hex` its first bytes.

    Args:
        settings: where Kafka is, which may have what was too large for the letter.
        letter: any dead letter.
        writer_schema: gives the schema of an id, or raises DecodeError.
        history: what was redriven.

    Raises:
        UnreachableError: the brokers or the registry do not answer.
    """
    message = written(letter.message, letter=letter.story is not None)
    if letter.story and letter.lacks_value and (at := message_at(settings, letter.story.origin)):
        message = written(at, letter=False)
    value = message.value
    return {
        **_story(letter, history),
        "key": _text(message.key),
        "headers": [[name, _text(content)] for name, content in message.headers],
        "bytes": None if value is None else len(value),
        "schema_id": _schema_id(value),
        **_value(letter.topic, value, writer_schema),
    }


def _story(letter: Letter, history: History) -> dict[str, Any]:
    story, at = letter.story, letter.at.isoformat(timespec="seconds")
    if story is None:
        place = f"{letter.message.topic()}:{letter.message.partition()}:{letter.message.offset()}"
        return {"topic": letter.topic, "at": at, "reason": letter.reason, "letter": place}
    now = history.sent.get(story.origin)
    return {
        "topic": letter.topic,
        "at": at,
        "origin": str(story.origin),
        "connector": story.connector,
        "stage": story.stage,
        "reason": story.reason,
        "detail": story.detail,
        "attempt": story.attempt,
        "first_failed_at": story.first_failed_at,
        "redriven": history.done(story.origin, story.connector),
        "redriven_to": None if now is None else str(story.origin._replace(offset=now)),
    }


def _value(topic: str, value: bytes | None, writer_schema: WriterSchema) -> dict[str, Any]:
    """What is in a value: as it is read today, else why not and what can be said of it."""
    if topic not in records():
        return {"event": None, "problem": "no event", "hex": _hex(value)}
    try:
        event = decode(value, records()[topic], writer_schema)
    except DecodeError as error:
        as_written = _as_written(value or b"", writer_schema)
        return {
            "event": None,
            "problem": str(error),
            **({} if as_written is None else {"written": as_written}),
            "hex": _hex(value),
        }
    return {"event": event.model_dump(mode="json", exclude_none=True)}


def _as_written(value: bytes, writer_schema: WriterSchema) -> Any:
    """The value in the words of its writer; None when that is not to be had either."""
    try:
        schema = fastavro.parse_schema(writer_schema(schema_id_of(value[: PREFIX.size])))
        return fastavro.schemaless_reader(io.BytesIO(value[PREFIX.size :]), schema, None)
    except DecodeError:
        return None
    except Exception:
        return None


def _schema_id(value: bytes | None) -> int | None:
    try:
        return schema_id_of((value or b"")[: PREFIX.size])
    except DecodeError:
        return None


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value[:_HEX].hex(" ")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")
