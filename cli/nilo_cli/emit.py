"""`nilo emit`: one event from the command line, or many from standard input."""

# ruff: noqa: PLC0415  models and clients are imported by the command that uses them

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json, print_json, wants_json

if TYPE_CHECKING:
    from nilo_producers import Delivery
    from nilo_schemas.envelope import Event

SOURCE = "nilo-cli"


def emit(
    ctx: typer.Context,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Such as llm.call.")],
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=VALUE", help="Without any, JSON lines are read from stdin."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Emit one event, or one per JSON line of stdin.

    Prints where Kafka has put each.

    Durations are seconds (or ISO 8601), money is dollars, times are ISO 8601, lists are JSON. A dot
    leads into a map or a part: attributes.region=eu, market.spread_bps=1.5.

    \b
    Example:
      nilo emit llm.call provider=acme model=atlas duration=0.8 attributes.region=eu
      nilo emit llm.call < calls.jsonl
    """
    from nilo_cli.cluster import require_topics
    from nilo_producers import Producer

    family = family_of(event_type)
    if not fields and sys.stdin.isatty():
        raise UsageError(f"nothing to emit: give {event_type} fields such as source=me")
    events = _one(family, event_type, fields) if fields else _lines(family, event_type, sys.stdin)
    first = next(events, None)  # a wrong field is refused before anything is asked of a server
    settings = settings_of(ctx)
    require_topics(settings)

    def report(delivery: Delivery) -> None:
        _show(delivery, as_json)

    with Producer(settings, on_delivery=report) as producer:
        if first is not None:
            producer.emit(first)
        for event in events:
            producer.emit(event)


def family_of(event_type: str, place: str = "") -> type[Event]:
    """The family of an event type; raises UsageError, which begins with the place."""
    from nilo_schemas.errors import ContractError
    from nilo_schemas.families import family_of_type

    try:
        return family_of_type(event_type)
    except ContractError as error:
        raise UsageError(f"{place}{error}") from None


def _one(family: type[Event], event_type: str, fields: Sequence[str]) -> Iterator[Event]:
    yield event_of(family, {"type": event_type, **values_of(family, fields)})


def _lines(family: type[Event], event_type: str, lines: Iterable[str]) -> Iterator[Event]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"line {number}: "
            values = json_object(line, place)
            if values.setdefault("type", event_type) != event_type:
                raise UsageError(f"{place}type is {values['type']!r}, not {event_type!r}")
            yield event_of(family, values, place)


def json_object(line: str, place: str) -> dict[str, Any]:
    """The object in a line of JSON; raises UsageError, which begins with the place."""
    try:
        values = json.loads(line)
    except ValueError as error:
        raise UsageError(f"{place}not JSON: {error}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{place}not a JSON object")
    return values


def event_of(family: type[Event], values: dict[str, Any], place: str = "") -> Event:
    """The event with these values; raises UsageError, which begins with the place."""
    from pydantic import ValidationError

    try:
        return family.model_validate({"source": SOURCE, **values})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(step) for step in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(family.model_fields)
            raise UsageError(f"{place}{family.__name__} has no field {name!r}; {known}") from None
        raise UsageError(f"{place}{name}={first['input']!r}: {first['msg']}") from None


def values_of(family: type[Event], fields: Sequence[str]) -> dict[str, Any]:
    """The values in `field=value` texts, `a.b=value` nested; raises UsageError."""
    values: dict[str, Any] = {}
    for text in fields:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{text!r} is not FIELD=VALUE")
        head, dot, rest = name.partition(".")
        target, key = (values.setdefault(head, {}), rest) if dot else (values, head)
        if not isinstance(target, dict) or key in target:
            raise UsageError(f"{name!r} is given twice")
        target[key] = value if dot else value_of(family, head, value)
    return values


def value_of(family: type[Event], name: str, text: str) -> Any:
    """The text, or what pydantic would not make of it: seconds as a number, lists from JSON."""
    from datetime import timedelta
    from typing import get_origin

    from nilo_schemas.record import Part, inner_type, plain_type

    info = family.model_fields.get(name)
    kind = plain_type(inner_type(info.annotation)[0]) if info else None
    try:
        if kind is timedelta:
            return float(text)
        if get_origin(kind) in (list, dict) or (isinstance(kind, type) and issubclass(kind, Part)):
            return json.loads(text)
    except ValueError:
        return text  # pydantic says what is wrong with it, or knows the form
    return text


def _show(delivery: Delivery, as_json: bool) -> None:
    if delivery.error is not None:
        return  # the producer raises it at the end, with all others
    place = {"id": delivery.event_id, "topic": delivery.topic}
    place |= {"partition": delivery.partition, "offset": delivery.offset}  # type: ignore[dict-item]  # set: there is no error
    if wants_json(as_json):
        print_json(place)
    else:
        print(f"{delivery.event_id}  {delivery.topic}/{delivery.partition}@{delivery.offset}")
