"""`nilo tiers run`, `nilo tiers show`."""

# ruff: noqa: PLC0415  the stores' clients are imported by the command that uses them

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli.ask import ask
from nilo_cli.context import settings_of
from nilo_cli.errors import RefusedError, UsageError
from nilo_cli.output import Json, show_rows, tell

if TYPE_CHECKING:
    from datetime import date

    from nilo_schemas.settings import Settings

app = typer.Typer(help="How long events and windows stay where.", no_args_is_help=True)
Topics = Annotated[list[str] | None, typer.Option("--topic", help="Only this topic (repeatable).")]


@app.command()
def run(
    ctx: typer.Context,
    *,
    topic: Topics = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Move old days of events to the next tier, and thin out old windows.

    Out of PostgreSQL, from the lake to the archive, and out of that. A day leaves a tier only when
    the next one has every offset of it; what cannot be shown to be there stays, is told as refused,
    and makes the exit code 1. Windows past their days go where longer ones stay. Sinks may go on
    meanwhile. Once a day is often enough.

    \b
    Example:
      nilo tiers run --dry-run
      nilo tiers run --yes --json
    """
    from nilo_consumers.tiers.run import run as work

    settings = settings_of(ctx)
    topics = _topics(settings, topic)
    if not dry_run and not yes:
        ask("Drop, move and delete what is past its days?", "nothing was moved")
    steps = [asdict(step) for step in work(settings, topics, _today(), dry_run=dry_run)]
    show_rows(steps, ["topic", "event_date", "step", "window", "rows", "refused"], as_json=as_json)
    if refused := [step for step in steps if step["refused"]]:
        raise RefusedError(f"{len(refused)} of {len(steps)} steps refused: {refused[0]['refused']}")
    tell(f"{len(steps):,} steps {'to do' if dry_run else 'done'}")


@app.command()
def show(ctx: typer.Context, topic: Topics = None, as_json: Json = False) -> None:
    """Tell what each tier holds of each topic.

    And when its oldest day leaves it; of windows, by length. The files of the lake are those of the
    last `nilo tiers run`.

    \b
    Example:
      nilo tiers show
      nilo tiers show --topic events.llm --json
    """
    from nilo_consumers.tiers.show import tiers

    settings = settings_of(ctx)
    rows = [asdict(each) for each in tiers(settings, _topics(settings, topic), _today())]
    columns = ["topic", "tier", "window", "days", "first_day", "rows", "bytes", "expires_on"]
    show_rows(rows, columns, as_json=as_json)


def _topics(settings: Settings, topics: list[str] | None) -> list[str]:
    """The topics of events and windows that were asked for; raises UsageError."""
    from nilo_schemas.contracts import stored_records

    names = [topic.removeprefix(settings.topic_prefix) for topic in topics or stored_records()]
    for name in names:
        if name not in stored_records():
            raise UsageError(f"no topic {name!r}; there are {', '.join(stored_records())}")
    return names


def _today() -> date:
    return datetime.now(UTC).date()
