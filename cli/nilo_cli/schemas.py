"""`nilo schemas check`, `register`, `show`, `generate`, `rehearse`."""

# ruff: noqa: PLC0415  models and clients are imported by the command that uses them

from __future__ import annotations

from typing import Annotated

import typer

from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json, show_rows
from nilo_cli.schemas_rehearse import rehearse

app = typer.Typer(help="The Avro contracts of events and results.", no_args_is_help=True)
app.command()(rehearse)


@app.command()
def check() -> None:
    """Check contracts against models and earlier versions.

    Each version must read and be read by every other one (FULL_TRANSITIVE). Prints one line per
    problem and exits with 1 when there is one.

    \b
    Example:
      nilo schemas check
    """
    from nilo_schemas.contracts import problems, records

    found = list(problems())
    for line in found:
        print(line)
    if found:
        raise typer.Exit(1)
    print(f"{len(records())} contracts are as their models and fit every earlier version")


@app.command()
def register(ctx: typer.Context, as_json: Json = False) -> None:
    """Put every contract into the registry.

    Under FULL_TRANSITIVE; safe to repeat.

    \b
    Example:
      nilo schemas register
    """
    from nilo_schemas.registry import COMPATIBILITY, Registry

    rows = [
        {"subject": subject, "id": schema_id, "compatibility": COMPATIBILITY}
        for subject, schema_id in Registry(settings_of(ctx)).register_all()
    ]
    show_rows(rows, ["subject", "id", "compatibility"], as_json=as_json)


@app.command()
def show(
    topic: Annotated[
        str | None, typer.Argument(help="Such as events.llm; all when left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the contract of a topic, or list all.

    \b
    Example:
      nilo schemas show
      nilo schemas show events.llm
    """
    from nilo_schemas.contracts import contract, records, text, versions

    if topic is None:
        rows = [
            {
                "topic": name,
                "record": record.__name__,
                "version": max(versions(name), default=None),
                "fields": len(record.model_fields),
                "about": contract(record)["doc"],
            }
            for name, record in records().items()
        ]
        show_rows(rows, ["topic", "record", "version", "fields", "about"], as_json=as_json)
        return
    if topic not in records():
        raise UsageError(f"no contract for topic {topic!r}; known: {', '.join(records())}")
    print(text(contract(records()[topic])), end="")


@app.command()
def generate() -> None:
    """Write contracts anew where models changed.

    For developers: a changed model becomes the next version of its contract.

    \b
    Example:
      nilo schemas generate
    """
    from nilo_schemas.contracts import write_changed

    written = list(write_changed())
    for path in written:
        print(path)
    if not written:
        print("every contract is as its model: nothing to write")
