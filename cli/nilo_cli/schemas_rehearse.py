"""`nilo schemas rehearse`: what a new contract would break, before it is in force."""

# ruff: noqa: PLC0415  models and clients are imported by the command that uses them

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json, print_json, printable, show_rows, wants_json
from nilo_cli.topic_names import known_topics

if TYPE_CHECKING:
    from nilo_schemas.settings import Settings

_PLACES = ["place", "schema", "records", "looked", "decode", "break", "already"]
_BREAKS = ["place", "schema", "reason", "field", "problem", "records", "examples"]
_LETTERS = ["reason", "letters", "succeed", "fail", "examples"]


def rehearse(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="NEW.avsc", help="The new contract: an Avro record schema.")
    ],
    *,
    topic: Annotated[
        str | None, typer.Option(help="Whose contract; default: by the record's full name.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Decode so many records of each partition and writer's schema; default: all.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read what is stored with a new contract, and list what breaks.

    The retained records in Kafka, the rows of the lake, and the dead letters are decoded as readers
    of the new contract would; nothing is written. Also: the SQL that the table in PostgreSQL needs,
    and what the registry would say. Exit code 1 when something breaks that is good today, or
    PostgreSQL cannot be brought to it.

    \b
    Example:
      nilo schemas show events.llm > new.avsc   # and change it
      nilo schemas rehearse new.avsc
      nilo schemas rehearse new.avsc --sample 1000 --json
    """
    from nilo_consumers.rehearse.run import rehearse as work

    settings = settings_of(ctx)
    name, schema = _asked(settings, file, topic)
    with _progress() as progress:
        done = work(settings, name, schema, sample=sample, progress=progress)
    level = {"compatibility": _compatibility(name, schema)}
    found = {"file": str(file), "sample": sample} | level | done.as_json()
    if wants_json(as_json):
        print_json(found)
    else:
        _show(found)
    if done.breaks:
        raise typer.Exit(1)


def _asked(settings: Settings, file: Path, topic: str | None) -> tuple[str, dict[str, Any]]:
    """The topic and its new contract; raises UsageError."""
    from nilo_schemas.errors import ContractError
    from nilo_schemas.proposed import proposed, topic_of

    try:
        schema = proposed(file)
        return known_topics(settings, [topic])[0] if topic else topic_of(schema), schema
    except ContractError as error:
        raise UsageError(str(error)) from None


def _compatibility(topic: str, schema: dict[str, Any]) -> dict[str, Any]:
    """What the level that `nilo schemas register` sets says of the new contract."""
    from nilo_schemas.contracts import contract, incompatibilities, records, versions
    from nilo_schemas.registry import COMPATIBILITY

    # A family of another package has no committed versions.
    earlier = versions(topic) or {0: contract(records()[topic])}
    problems = list(incompatibilities(schema, earlier, "the new contract"))
    return {"level": COMPATIBILITY, "versions": len(earlier), "problems": problems}


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each place on standard error, when that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _place, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(20), MofNCompleteColumn(), "{task.fields[rate]}")
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        tasks: dict[str, Any] = {}
        moments = [time.monotonic()]

        def update(place: str, done: int, total: int) -> None:
            if place not in tasks:
                tasks[place] = bar.add_task(place, total=total, rate=""), moments[-1]
            moments[:] = [time.monotonic()]
            task, began = tasks[place]
            rate = done / max(moments[-1] - began, 1e-3)
            bar.update(task, completed=done, rate=f"{rate:,.0f}/s")

        yield update


def _show(found: dict[str, Any]) -> None:
    print(f"{found['topic']}: {printable(_level(found['compatibility']))}\n")
    places = [_place(each, found["topic"]) for each in found["kafka"]]
    if found["lake"]:
        places.append({"place": "lake"} | found["lake"])
    show_rows(places, _PLACES, as_json=False)
    breaks = [
        {"place": place["place"], "schema": place.get("schema")} | kind | _examples(kind)
        for place in places
        for kind in place["breaks"]
    ]
    if breaks:
        print("\nwhat breaks")
        show_rows(breaks, _BREAKS, as_json=False)
    for each in found["lake"]["kept"] if found["lake"] else ():
        print(
            "\nlake: {column} stays {table}; the {contract} of rows to come is cast to it".format(
                **each
            )
        )
    if found["dlq"]:
        print("\ndead letters")
        show_rows([each | _examples(each) for each in found["dlq"]], _LETTERS, as_json=False)
    _show_postgres(found["postgres"])
    _conclude(found, breaks)


def _level(told: dict[str, Any]) -> str:
    problems = told["problems"]
    if not problems:
        return f"{told['level']} with the {told['versions']} so far: the registry takes it"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"not {told['level']}, the registry refuses it: {problems[0]}{more}"


def _place(tally: dict[str, Any], topic: str) -> dict[str, Any]:
    schema = tally["schema_id"]
    name = "none" if schema is None else str(schema)
    return tally | {"place": f"{topic}/{tally['partition']}", "schema": name}


def _examples(kind: dict[str, Any]) -> dict[str, str]:
    return {"examples": " ".join(kind["examples"])}


def _show_postgres(plan: dict[str, Any] | None) -> None:
    if plan is None:
        return
    print(f"\nPostgreSQL, compared with {plan['compared']}")
    for each in plan["statements"]:
        who = (
            "the sink, at its next start" if each["by"] == "sink" else "you, before the sink starts"
        )
        writes = "; writes the table anew under a lock" if each["rewrites"] else ""
        print(f"  {printable(each['sql'])};  -- {who}{writes}")
    for line in plan["impossible"]:
        print(f"  not possible: {printable(line)}")
    if not plan["statements"] and not plan["impossible"]:
        print("  nothing to do")


def _conclude(found: dict[str, Any], breaks: list[dict[str, Any]]) -> None:
    if again := sum(each["succeed"] for each in found["dlq"]):
        print(f"\n{again:,} dead letters would decode: `nilo dlq redrive`, once it is in force")
    if breaks:
        print(f"\n{sum(each['records'] for each in breaks):,} records and rows break")
    elif not found["breaks"]:
        print("\nnothing breaks")
