"""Events for people: turns of debates and chats one after another, all others as tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from nilo_cli.output import printable
from nilo_cli.spool import Session, Spool
from nilo_schemas.envelope import Event
from nilo_schemas.families import ChatEvent, DebateEvent, families

_TALK = (DebateEvent.kafka_topic, ChatEvent.kafka_topic)
_SPEAKERS = ("agent", "role")
_NOT_FOR_PEOPLE = {
    "id", "session_id", "trace_id", "span_id", "parent_span_id", "causation_id", "sample_rate",
    "text_hash",
}  # fmt: skip
_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~])")


def markdown(spool: Spool) -> Iterator[str]:
    """The sessions one after another: what was said in order, then a table for each family."""
    for session, parts in spool.sections(_TALK):
        yield _heading(session)
        for topic, events in parts:
            if topic:
                yield from _table(topic, events, spool.columns[topic])
            else:
                yield from _talk(events)


def _heading(session: Session) -> str:
    name = f"Session {_plain(session.name)}" if session.name else "Events of no session"
    number = f"{session.events:,} event" + ("s" if session.events > 1 else "")
    times = f"{_time(session.first)} to {_time(session.last)}"
    return f"# {name}\n\n{number}, {times}. Times are UTC, durations seconds, money dollars.\n\n"


def _talk(events: Iterator[dict[str, Any]]) -> Iterator[str]:
    for values in events:
        yield f"- {_time(values['time'])} **{_plain(_title(values))}**{_facts(values)}\n"
    yield "\n"


def _title(values: dict[str, Any]) -> str:
    """Who did what: `turn 3, ada`."""
    kind = values["type"].partition(".")[2].replace(".", " ")
    number = f" {values['turn']}" if "turn" in values else ""
    speaker = next((values[name] for name in _SPEAKERS if name in values), values.get("subject"))
    return f"{kind}{number}" + (f", {speaker}" if speaker else "")


def _facts(values: dict[str, Any]) -> str:
    """What else is known, without the envelope but for what is out of the usual."""
    hidden = {*Event.model_fields, *_NOT_FOR_PEOPLE, *_SPEAKERS, "turn"}
    facts = {name: value for name, value in values.items() if name not in hidden}
    if values["severity"] != "INFO":
        facts["severity"] = values["severity"]
    facts |= values["attributes"]
    told = ", ".join(f"{_plain(name)} {_cell(value)}" for name, value in facts.items())
    return f": {told}" if told else ""


def _table(topic: str, events: Iterator[dict[str, Any]], used: set[str]) -> Iterator[str]:
    shown = used - _NOT_FOR_PEOPLE - {"time"}
    columns = ["time", *(name for name in families()[topic].model_fields if name in shown)]
    yield f"## {_plain(topic)}\n\n"
    yield _row([name.replace("_", " ") for name in columns])
    yield _row(["---"] * len(columns))
    for values in events:
        yield _row([_shown(name, values.get(name)) for name in columns])
    yield "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _shown(name: str, value: Any) -> str:
    return _time(value) if name == "time" else _cell(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{_plain(name)} {_cell(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _plain(str(value))


def _time(text: str) -> str:
    """A time to the millisecond."""
    date, clock = text[:10], text[11:].removesuffix("Z")
    seconds, _, parts = clock.partition(".")
    return f"{date} {seconds}.{parts[:3]:0<3}"


def _plain(text: str) -> str:
    """The text on one line, with nothing in it that Markdown or a terminal would act upon."""
    return _MARKS.sub(r"\\\1", printable(" ".join(text.split())))
