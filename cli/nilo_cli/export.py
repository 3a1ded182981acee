"""`nilo export`: the events of a session, run or debate, for programs or for people."""

# ruff: noqa: PLC0415  models and stores are imported by the command that uses them

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli.context import settings_of
from nilo_cli.emit import family_of
from nilo_cli.errors import RefusedError
from nilo_cli.output import Json, printable, tell, wants_json
from nilo_cli.times import parse_time

if TYPE_CHECKING:
    from nilo_cli.spool import Spool
    from nilo_consumers.events import Selection
    from nilo_schemas.envelope import Event
    from nilo_schemas.settings import Settings


class Store(StrEnum):
    """Where events are read from; without a choice the first of these that has some."""

    POSTGRES = "postgres"
    PARQUET = "parquet"
    SQLITE = "sqlite"
    ARCHIVE = "archive"
    KAFKA = "kafka"


class Form(StrEnum):
    """How events are written."""

    JSONL = "jsonl"
    CSV = "csv"
    MARKDOWN = "markdown"


def export(
    ctx: typer.Context,
    *,
    session: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="The session_id of a conversation, debate or run."),
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="What the events are about: agent, thread, symbol.")
    ] = None,
    event_type: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Such as debate.turn.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Events at or after: 1h (before now), or an ISO time.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Events before: 1h, or an ISO time.")] = None,
    store: Annotated[
        Store | None,
        typer.Option(
            "--from", help="Where to read; default: the first that has some.", show_default=False
        ),
    ] = None,
    form: Annotated[
        Form | None,
        typer.Option(
            "--format", help="Default: markdown on a terminal, else jsonl.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the events of a session, run or debate in order of time.

    As JSON lines or CSV, which `nilo import` takes back exactly, or as Markdown to read. Options
    that may be given again (--session, --subject, --type) take any of their values; of different
    options all must fit. Equal events (same id, same everything) are written once.

    \b
    Example:
      nilo export --session debate-7
      nilo export --session debate-7 --format csv > debate-7.csv
      nilo export --type trade.execution --since 1d --from kafka | jq .price
    """
    from nilo_cli.spool import Spool
    from nilo_consumers.events import Selection
    from nilo_schemas.families import families

    now = datetime.now(UTC)
    chosen = {family_of(each) for each in event_type or []} or families().values()
    wanted = Selection(
        sessions=session or [],
        subjects=subject or [],
        types=event_type or [],
        since=None if since is None else parse_time(since, now),
        until=None if until is None else parse_time(until, now),
    )
    if form is None:
        form = Form.JSONL if wants_json(as_json) else Form.MARKDOWN
    with Spool() as spool:
        source = _fill(spool, settings_of(ctx), chosen, wanted, store)
        _write(_written(spool, form))
        _tell(spool, source)
    if spool.refused or not spool.events:
        raise typer.Exit(1)


def _write(texts: Iterable[str]) -> None:
    """Put texts on standard output.

    Raises:
        RefusedError: it does not take all of it.
        BrokenPipeError: nobody reads it any more.
    """
    try:
        for text in texts:
            sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RefusedError(
            f"standard output does not take it: {error.strerror}; what is there is not whole"
        ) from error


def _fill(
    spool: Spool,
    settings: Settings,
    families: Collection[type[Event]],
    wanted: Selection,
    store: Store | None,
) -> str:
    """Put the events of the first store that has some into the spool; which store that is."""
    name = ""
    for name in [store.value] if store else _there(settings):
        for family in families:
            _add(spool, settings, family, wanted, name)
        if spool.events or spool.refused:
            break
    return name


def _there(settings: Settings) -> list[str]:
    """The stores that these settings lead to."""
    known = settings.database_url is not None
    return [store.value for store in Store if known or store is not Store.POSTGRES]


def _add(
    spool: Spool, settings: Settings, family: type[Event], wanted: Selection, store: str
) -> None:
    from nilo_cli.stored_events import stored_events

    for values in stored_events(store, settings, family, wanted):
        # A row older than its column has no value there, and means the default.
        given = {name: value for name, value in values.items() if value is not None}
        try:
            event = family.from_avro(given)
        except ValueError as error:
            # A foreign producer sent it: our own checks the rules that Avro cannot say.
            spool.refuse(f"event {values['id']}: {' '.join(str(error).split())}")
        else:
            spool.add(event)


def _written(spool: Spool, form: Form) -> Iterator[str]:
    from nilo_cli.event_csv import csv_lines
    from nilo_cli.export_markdown import markdown

    if form is Form.CSV:
        return csv_lines(spool.lines(), spool.columns)
    if form is Form.MARKDOWN:
        return markdown(spool)
    return (f"{line}\n" for line in spool.lines())


def _tell(spool: Spool, store: str) -> None:
    """What standard output does not say, on standard error."""
    told = [f"left out: {printable(reason)}" for reason in spool.reasons]
    if spool.refused:
        told.append(f"{spool.refused:,} events break a rule of their model and are left out")
    if spool.doubles:
        told.append(f"{spool.doubles:,} events are there more than once, and written once")
    if not spool.events:
        told.append(f"no events match in {store}; --from reads another store")
    for line in told:
        print(f"nilo: {line}", file=sys.stderr)
    tell(f"{spool.events:,} events from {store}")
