"""`nilo tail`: decoded messages of one of our topics as they come."""

# ruff: noqa: PLC0415  models and clients are imported by the command that uses them

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import console, print_json, wants_json

if TYPE_CHECKING:
    from nilo_cli.tail_format import Seen
    from nilo_cli.tail_offsets import Span
    from nilo_cli.tail_partials import Frame
    from nilo_schemas.record import Record
    from nilo_schemas.settings import Settings


def tail(
    ctx: typer.Context,
    topic: Annotated[
        str, typer.Argument(help="Such as events.llm, metrics.windows, dlq.events.llm.")
    ],
    *,
    offset: Annotated[
        list[str] | None,
        typer.Option("-o", "--offset", help="beginning, end (default), 42, -10, s@MS, e@MS."),
    ] = None,
    count: Annotated[
        int | None, typer.Option("-c", "--count", min=1, help="End after so many messages.")
    ] = None,
    partition: Annotated[
        int | None, typer.Option("-p", "--partition", min=0, help="Only this partition.")
    ] = None,
    exit_at_end: Annotated[
        bool, typer.Option("-e", "--exit", help="End when all that is there is shown.")
    ] = False,
    form: Annotated[
        str | None,
        typer.Option("-f", "--format", help=r"With %t %p %o %k %s %S %K %T %h \n \t."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("-J", "--json", help="JSON lines as kcat's; the default when piped.")
    ] = False,
) -> None:
    """Show decoded messages as they come; options as in kcat.

    Events, windows, dead letters, and what the stages of the processors tell each other
    (metrics.partials); what does not decode is shown with its reason. Times of -o are milliseconds
    since 1970 at which Kafka took a message, -10 is the last ten of each partition. TOPIC may leave
    out the topic prefix.

    \b
    Example:
      nilo tail events.llm
      nilo tail events.llm -o -10 -e
      nilo tail metrics.windows -o beginning -c 5 -J
      nilo tail events.trade -o s@1750000000000 -f '%o %k %s\\n'
    """
    from nilo_cli.tail_format import check_format
    from nilo_cli.tail_offsets import parse_span

    span = parse_span(offset or [])
    if form is not None:
        check_format(form)
    settings = settings_of(ctx)
    seen = seen_of(settings, topic, span, partition=partition, exit_at_end=exit_at_end)
    write = _writer(form, as_json)
    for each in islice(seen, count):
        write(each)


def seen_of(
    settings: Settings, topic: str, span: Span, *, partition: int | None, exit_at_end: bool
) -> Iterator[Seen]:
    """The messages of a topic with what they hold; raises as `tail_read.read` does."""
    from nilo_cli.tail_format import Seen
    from nilo_cli.tail_read import read
    from nilo_schemas.errors import DecodeError

    name, kind = full_name(settings, topic)
    decoded = _decoder(settings, kind)
    for message in read(settings, name, span, partition=partition, exit_at_end=exit_at_end):
        record: Record | Frame | DecodeError
        try:
            record = decoded(message.value())
        except DecodeError as error:
            record = error
        yield Seen(message, record)


def _decoder(
    settings: Settings, kind: type[Record] | None
) -> Callable[[bytes | None], Record | Frame]:
    from nilo_cli.tail_partials import read_frame
    from nilo_schemas.catalogue_files import load_catalogue
    from nilo_schemas.codec import decode
    from nilo_schemas.registry import Registry

    if kind is None:
        catalogue = load_catalogue(settings.catalogue)
        return lambda value: read_frame(value, catalogue)
    registry = Registry(settings)
    return lambda value: decode(value, kind, registry.schema)


def full_name(settings: Settings, topic: str) -> tuple[str, type[Record] | None]:
    """The topic's name with the prefix, and what its messages hold, None for frames of partials.

    Raises:
        UsageError: it is none of our topics.
    """
    from nilo_schemas.contracts import records
    from nilo_schemas.dead_letters import DLQ
    from nilo_schemas.results import PARTIALS_TOPIC

    bare = topic.removeprefix(settings.topic_prefix)
    kinds: dict[str, type[Record] | None] = {**records(), PARTIALS_TOPIC: None}
    if bare.removeprefix(DLQ) not in kinds:
        known = ", ".join(kinds)
        raise UsageError(f"unknown topic {topic!r}; known: {known}, and each with {DLQ} in front")
    return settings.topic_prefix + bare, kinds[bare.removeprefix(DLQ)]


def _writer(form: str | None, json_asked: bool) -> Callable[[Seen], None]:
    from nilo_cli import tail_format

    if form is not None:
        return lambda seen: _write(tail_format.formatted(form, seen))
    if wants_json(json_asked):
        return lambda seen: print_json(tail_format.as_json(seen))
    return line_writer()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def line_writer() -> Callable[[Seen], None]:
    """Writes each message as lines for people."""
    from rich.text import Text

    from nilo_cli.tail_format import lines

    screen = console()

    def write(seen: Seen) -> None:
        for text, style in lines(seen):
            screen.print(Text(text, style), soft_wrap=True)

    return write
