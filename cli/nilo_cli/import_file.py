"""`nilo import`: the events of an export, as they were."""

# ruff: noqa: PLC0415  models and clients are imported by the command that uses them

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli.context import settings_of
from nilo_cli.output import Json, print_json, wants_json

if TYPE_CHECKING:
    from nilo_cli.event_files import Export
    from nilo_schemas.envelope import Event
    from nilo_schemas.settings import Settings

Known = Callable[[str], bool]


class Form(StrEnum):
    """How the events are written."""

    JSONL = "jsonl"
    CSV = "csv"


def import_file(
    ctx: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Made by `nilo export`; - is standard input."),
    ],
    *,
    form: Annotated[
        Form | None,
        typer.Option("--format", help="Default: csv for *.csv, else jsonl.", show_default=False),
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Not those whose id Kafka already has.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only look whether every line is an event.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Emit the events of an export again, as they were.

    Same ids, same times, same everything. Nothing is emitted before every line of every file was
    found to be a valid event. Importing twice puts the events into Kafka twice, and all count
    twice, unless you --skip-existing. Markdown is for people only and cannot be imported.

    \b
    Example:
      nilo export --session debate-7 > debate-7.jsonl
      nilo --topic-prefix copy. import debate-7.jsonl
      nilo import calls.csv --dry-run
    """
    from nilo_cli.event_files import all_events, opened

    with ExitStack() as stack:
        is_csv = None if form is None else form is Form.CSV
        exports = [opened(file, is_csv, stack) for file in files]
        families: set[type[Event]] = set()
        found = 0
        for event in all_events(exports):
            families.add(type(event))
            found += 1
        emitted = 0
        if not dry_run:
            settings = settings_of(ctx)
            known = _ids_in_kafka(settings, families, stack) if skip_existing else _none
            emitted = _emit(settings, exports, known, found)
    _show(found, emitted, dry_run=dry_run, as_json=as_json)


def _none(_event_id: str) -> bool:
    return False


def _ids_in_kafka(settings: Settings, families: Iterable[type[Event]], stack: ExitStack) -> Known:
    """Whether Kafka has an id by now; the ids lie on disk."""
    from nilo_cli.cluster import require_topics
    from nilo_cli.stored_events import KAFKA, stored_events
    from nilo_consumers.events import Selection

    require_topics(settings)
    database = stack.enter_context(closing(sqlite3.connect("", isolation_level=None)))
    database.execute("CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID")
    database.execute("BEGIN")
    for family in families:
        stored = stored_events(KAFKA, settings, family, Selection())
        ids = ([values["id"]] for values in stored)
        database.executemany("INSERT OR IGNORE INTO ids VALUES (?)", ids)
    query = "SELECT 1 FROM ids WHERE id = ?"
    return lambda event_id: database.execute(query, [event_id]).fetchone() is not None


def _emit(settings: Settings, exports: Sequence[Export], known: Known, found: int) -> int:
    """Emit the events that are not known; how many."""
    from nilo_cli.cluster import require_topics
    from nilo_cli.event_files import all_events
    from nilo_producers import Producer

    require_topics(settings)
    producer = Producer(settings)
    try:
        with producer:
            for event in all_events(exports):
                if not known(event.id):
                    producer.emit(event)
    except BaseException:
        done = f"{producer.counts.delivered:,} of {found:,} events are in Kafka"
        print(f"{done}; --skip-existing goes on from there", file=sys.stderr)
        raise
    return producer.counts.delivered


def _show(found: int, emitted: int, *, dry_run: bool, as_json: bool) -> None:
    skipped = 0 if dry_run else found - emitted
    if wants_json(as_json):
        print_json({"events": found, "emitted": emitted, "skipped": skipped, "dry_run": dry_run})
    elif dry_run:
        print(f"{found:,} events, all valid; none was emitted")
    else:
        print(f"{emitted:,} of {found:,} events emitted, {skipped:,} are in Kafka already")
