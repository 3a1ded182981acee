"""How `nilo tail` writes a message: a line for people, kcat's -f and -J for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Message

from nilo_cli.errors import UsageError
from nilo_cli.output import printable
from nilo_cli.tail_partials import Frame, frame_lines
from nilo_schemas.alerts import Alert
from nilo_schemas.envelope import Event
from nilo_schemas.errors import DecodeError
from nilo_schemas.record import Record
from nilo_schemas.results import MetricWindow

STYLES = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
_STATE_STYLES = {("critical", True): "bold red", ("warning", True): "yellow"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
_PART = re.compile(r"%(.)|\\(.)", re.DOTALL)
_TIMES = {TIMESTAMP_CREATE_TIME: "create", TIMESTAMP_LOG_APPEND_TIME: "logappend"}
_ORIGIN = "__connect.errors."


@dataclass(frozen=True)
class Seen:
    """A message and what it holds: a record, partials, or the reason why there is none."""

    message: Message
    record: Record | Frame | DecodeError

    def payload(self) -> Any:
        """The record as JSON values without what is not set; None when it did not decode."""
        if isinstance(self.record, DecodeError):
            return None
        if isinstance(self.record, Frame):
            return asdict(self.record)
        return self.record.model_dump(mode="json", exclude_none=True)

    def headers(self) -> list[tuple[str, str]]:
        """The headers as text."""
        headers: Any = self.message.headers()  # a list of pairs; the stub also knows a dict
        return [(name, _text(value)) for name, value in headers or []]


def check_format(form: str) -> None:
    """Raise UsageError when a format has a token that is none."""
    for match in _PART.finditer(form):
        if match[1] and match[1] not in _TOKENS:
            known = " ".join(f"%{token}" for token in _TOKENS)
            raise UsageError(f"-f: unknown token {match[0]!r}; known: {known}")


def formatted(form: str, seen: Seen) -> str:
    r"""The message in kcat's format: %t %p %o %k %s %S %K %T %h, with \n and \t."""
    return _PART.sub(lambda part: _token(part, seen), form)


def _token(part: re.Match[str], seen: Seen) -> str:
    if part[1] is None:
        return _ESCAPES.get(part[2], part[0])
    return _TOKENS[part[1]](seen)


def _payload_text(seen: Seen) -> str:
    if isinstance(seen.record, DecodeError):
        return f"({seen.record})"
    return json.dumps(seen.payload(), ensure_ascii=False)


def _size(value: str | bytes | None) -> int:
    """Bytes, or -1 where there is nothing, as kcat says it."""
    return -1 if value is None else len(value)


def _text(value: str | bytes | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


_TOKENS: dict[str, Callable[[Seen], str]] = {
    "t": lambda seen: str(seen.message.topic()),
    "p": lambda seen: str(seen.message.partition()),
    "o": lambda seen: str(seen.message.offset()),
    "k": lambda seen: _text(seen.message.key()),
    "s": _payload_text,
    "S": lambda seen: str(_size(seen.message.value())),
    "K": lambda seen: str(_size(seen.message.key())),
    "T": lambda seen: str(seen.message.timestamp()[1]),
    "h": lambda seen: ",".join(f"{name}={value}" for name, value in seen.headers()),
    "%": lambda _seen: "%",
}


def as_json(seen: Seen) -> dict[str, Any]:
    """The message in the shape of kcat -J, the payload decoded; `error` when it does not decode."""
    message = seen.message
    kind, milliseconds = message.timestamp()
    key = message.key()
    answer = {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "tstype": _TIMES.get(kind, "unknown"),
        "ts": milliseconds,
        "headers": [part for header in seen.headers() for part in header],
        "key": None if key is None else _text(key),
        "payload": seen.payload(),
    }
    if isinstance(seen.record, DecodeError):
        answer["error"] = {"reason": str(seen.record.reason), "detail": seen.record.detail}
    return answer


def lines(seen: Seen) -> Iterator[tuple[str, str]]:
    """Lines for people, and the style of each: one, but of partials one for each."""
    story = _story(dict(seen.headers()))
    for text, style in _lines_of(seen):
        yield printable(story + text), "yellow" if story else style


def _story(headers: dict[str, str]) -> str:
    """Why a message is a dead letter; nothing for one that is none."""
    if "x-nilo-error-code" not in headers:
        return ""
    origin = "{topic}/{partition}@{offset}".format(
        **{part: headers.get(_ORIGIN + part, "?") for part in ("topic", "partition", "offset")}
    )
    detail = headers.get(f"{_ORIGIN}exception.message", "")
    return f"{headers['x-nilo-error-code']}  {origin}  {detail}  |  "


def _lines_of(seen: Seen) -> Iterator[tuple[str, str]]:
    if isinstance(seen.record, Frame):
        yield from ((text, "dim") for text in frame_lines(seen.record))
    else:
        yield _line_of(seen.message, seen.record)


def _line_of(message: Message, record: Record | DecodeError) -> tuple[str, str]:
    if isinstance(record, DecodeError):
        place = f"{message.topic()}/{message.partition()}@{message.offset()}"
        return f"{_clock(_arrived(message))}  {place}  does not decode: {record}", "red"
    if isinstance(record, Event):
        return _event_line(record), STYLES.get(record.severity.value, "")
    if isinstance(record, MetricWindow):
        return _window_line(record), "" if record.final else "dim"
    if isinstance(record, Alert):
        return _alert_line(record), _STATE_STYLES.get((record.severity, record.active), "")
    return record.model_dump_json(exclude_none=True), ""


def _arrived(message: Message) -> datetime:
    return datetime.fromtimestamp(max(0, message.timestamp()[1]) / 1000, UTC)


def _clock(time: datetime) -> str:
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03}Z"


def _event_line(event: Event) -> str:
    values = event.model_dump(mode="json", exclude_none=True, include=_facts(type(event)))
    severity = "" if event.severity.value == "INFO" else f"  {event.severity.value}"
    facts = _pairs({**values, **event.attributes}.items())
    return f"{_clock(event.time)}  {event.type}{severity}  {event.key}  {facts}"


@cache
def _facts(family: type[Event]) -> set[str]:
    """The fields behind the envelope."""
    return set(family.model_fields) - set(Event.model_fields)


def _window_line(window: MetricWindow) -> str:
    span = f"[{window.window_start:%H:%M:%S}, {window.window_end:%H:%M:%S})"
    values: dict[str, Any] = {"count": window.count, "errors": window.errors, "mean": window.mean}
    facts = f"{_pairs({**values, **window.quantiles}.items())}  {window.unit}"
    told = "withdrawn" if window.withdrawn else facts
    state = "final" if window.final else "so far"
    dimensions = _pairs(window.dimensions.items())
    return f"{span}  {window.metric}  {dimensions}  {told}  {state}"


def _alert_line(alert: Alert) -> str:
    state = f"{alert.state}  {alert.severity}"
    owner = f"  acknowledged by {alert.acknowledged_by}" if alert.acknowledged_by else ""
    about = f"{alert.rule}  {_pairs(alert.labels.items())}  {alert.summary}"
    return f"{_clock(alert.time)}  {state}  {alert.fingerprint}  {about}{owner}"


def _pairs(items: Iterable[tuple[str, Any]]) -> str:
    return " ".join(f"{name}={_short(value)}" for name, value in items if value is not None)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
