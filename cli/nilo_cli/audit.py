"""`nilo audit reconcile`."""

# ruff: noqa: PLC0415  the stores' clients are imported by the command that uses them

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nilo_cli.context import settings_of
from nilo_cli.errors import AuditError, UsageError
from nilo_cli.output import Json, print_json, show_rows, tell, wants_json, write_json
from nilo_cli.times import parse_time
from nilo_cli.topic_names import known_topics

if TYPE_CHECKING:
    from nilo_consumers.audit.ledger import Entry
    from nilo_consumers.audit.reconcile import Ledger

_NAMED = 5  # faults named in the last line
app = typer.Typer(help="Is everything there, and nothing twice?", no_args_is_help=True)
_COLUMNS = [
    "topic", "partition", "store", "offsets", "rows", "absent", "missing", "doubled", "beyond",
    "behind",
]  # fmt: skip


@app.callback()
def audit() -> None:
    """Is everything there, and nothing twice?"""


@app.command()
def reconcile(
    ctx: typer.Context,
    *,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", help="Only this topic (repeatable).")
    ] = None,
    store: Annotated[
        list[str] | None, typer.Option("--store", help="Only this store (repeatable).")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Messages since: 1h (ago) or a time.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Messages before.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the certificate to a file.")
    ] = None,
    checksums: Annotated[
        bool,
        typer.Option(
            "--checksums", help="Read every file that the manifest knows; compare its SHA-256."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare every offset in Kafka with what each store holds.

    For each partition: rows, the messages that are no rows for a reason (dead letters; windows that
    are provisional; days that `nilo tiers run` has let go; what `nilo erase` took out), and what is
    missing, there twice, or beyond what the store says it has. As JSON the whole ledger is a
    certificate with a digest. Exit code 1 when something is wrong.

    \b
    Example:
      nilo audit reconcile
      nilo audit reconcile --topic events.llm --from 1h --json
      nilo audit reconcile --checksums --out certificate.json
    """
    from nilo_consumers.audit.reconcile import STORES, Range
    from nilo_consumers.audit.reconcile import reconcile as work

    settings, now = settings_of(ctx), datetime.now(UTC)
    for name in store or ():
        if name not in STORES:
            raise UsageError(f"no store {name!r}; there are {', '.join(STORES)}")
    within = Range(
        parse_time(since, now) if since else None, parse_time(until, now) if until else None
    )
    topics = known_topics(settings, topic)
    ledger = work(settings, topics, stores=store, within=within, checksums=checksums)
    if out:
        write_json(out, ledger.certificate())
    if wants_json(as_json):
        print_json(ledger.certificate())
    else:
        show_rows(map(_row, ledger.entries), _COLUMNS, as_json=False)
    _conclude(ledger)


def _row(line: Entry) -> dict[str, Any]:
    """A line for people: stretches as first-last."""
    told = line.as_json()
    faults = {
        name: " ".join(f"{first}-{last}" for first, last in told[name])
        for name in ("missing", "doubled", "beyond")
    }
    absent = " ".join(f"{reason}={number}" for reason, number in told["absent"].items() if number)
    offsets = f"{line.passed.start}-{line.passed.end}"
    return told | faults | {"offsets": offsets, "absent": absent}


def _conclude(ledger: Ledger) -> None:
    if ledger.clean:
        tell(f"clean: {sum(line.rows for line in ledger.entries):,} rows in their places")
        return
    faults = [
        f"{line.store} {line.topic}/{line.partition}" for line in ledger.entries if not line.clean
    ]
    faults += [f"{path} (missing)" for path in ledger.lost_files]
    faults += [f"{path} (not as it was written)" for path in ledger.changed_files]
    more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    raise AuditError(f"not clean: {', '.join(faults[:_NAMED])}{more}")
