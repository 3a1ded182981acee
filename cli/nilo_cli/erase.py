"""`nilo erase`, `nilo erase verify`."""

# ruff: noqa: PLC0415  the stores' clients are imported by the command that uses them

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli.ask import ask
from nilo_cli.context import settings_of
from nilo_cli.errors import LeftError, UsageError
from nilo_cli.output import Json, print_json, show_rows, tell, wants_json, write_json

if TYPE_CHECKING:
    from nilo_consumers.erase.receipt import Receipt
    from nilo_consumers.erase.run import Scope

app = typer.Typer(invoke_without_command=True)
Subject = Annotated[str | None, typer.Option("--subject", help="Whose events: exactly this text.")]
NoScan = Annotated[
    bool, typer.Option("--no-scan", help="Do not read the topics in Kafka to count.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Also write the receipt to a file.")]
_COLUMNS = ["place", "topic", "rows", "files", "behind", "until", "note", "left"]


@app.callback()
def erase(
    ctx: typer.Context,
    *,
    subject: Subject = None,
    out: Out = None,
    no_scan: NoScan = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count, place by place.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Erase a subject from every store.

    Its events, and the windows grouped by it, in PostgreSQL, the SQLite file, the lake and the
    archive. Sinks may go on; what they have yet to read comes as new rows: run it again then. Kafka
    cannot take out single records: the receipt says how many there are and when they go. Exit code
    1 when something is left to do in a place; running it again does that.

    \b
    Example:
      nilo erase --subject agent-7 --dry-run
      nilo erase --subject agent-7 --yes --out receipt.json
      nilo erase verify --subject agent-7
    """
    if ctx.invoked_subcommand is not None:
        if subject is not None:
            raise UsageError(f"options go behind: nilo erase {ctx.invoked_subcommand} --subject …")
        return
    from nilo_consumers.erase import run as work

    settings, whose = settings_of(ctx), _checked(subject)
    if dry_run:
        receipt = work.count(settings, whose, _scope(no_scan))
    else:
        if not yes:
            ask(f"Erase all rows of subject {whose!r}, for good?", "nothing was erased")
        receipt = work.erase(settings, whose, _scope(no_scan))
    _show(receipt, out, as_json=as_json)
    _fail_if_left(receipt)
    tell(f"{_rows(receipt):,} rows {'would be' if dry_run else 'were'} erased")


@app.command()
def verify(
    ctx: typer.Context,
    *,
    subject: Subject = None,
    out: Out = None,
    no_scan: NoScan = False,
    as_json: Json = False,
) -> None:
    """Look through every place for a subject's rows.

    Every row is compared, also in files that no version of the lake needs; no index or filter is
    trusted. Exit code 1 when a store holds any, or could not be looked at. What only Kafka holds
    is shown with its date, and is no fault.

    \b
    Example:
      nilo erase verify --subject agent-7
      nilo erase verify --subject agent-7 --no-scan --json
    """
    from nilo_consumers.erase.run import count

    receipt = count(settings_of(ctx), _checked(subject), _scope(no_scan))
    _show(receipt, out, as_json=as_json)
    _fail_if_left(receipt)
    if rows := _rows(receipt):
        held = sorted({line.place for line in receipt.stored if line.rows})
        raise LeftError(f"{rows:,} rows are there, in {', '.join(held)}: run `nilo erase` again")
    tell("no store holds a row")


def _checked(subject: str | None) -> str:
    """The subject; raises UsageError for what no event can have."""
    if subject is None:
        raise UsageError("whose events? add --subject")
    if not subject:
        raise UsageError("--subject is empty: no event has such a subject")
    try:
        subject.encode()
    except UnicodeEncodeError:
        raise UsageError("--subject is not UTF-8: no event has such a subject") from None
    return subject


def _scope(no_scan: bool) -> Scope:
    from nilo_consumers.erase.run import Scope

    return Scope(scan=not no_scan, tell=lambda place: tell(f"{place} …"))


def _show(receipt: Receipt, out: Path | None, *, as_json: bool) -> None:
    """Print the receipt, and write it to a file."""
    if out:
        try:
            write_json(out, receipt.as_json())
        except UsageError:
            # The work is done: the receipt is shown all the same.
            print_json(receipt.as_json())
            raise
    if wants_json(as_json):
        print_json(receipt.as_json())
    else:
        told = [line for line in receipt.lines if line.rows != 0 or line.left or line.behind]
        show_rows((line.as_json() for line in told), _COLUMNS, as_json=False)


def _rows(receipt: Receipt) -> int:
    return sum(line.rows or 0 for line in receipt.stored)


def _fail_if_left(receipt: Receipt) -> None:
    if left := receipt.left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise LeftError(f"not complete: {left[0].place}: {left[0].left}{more}")
