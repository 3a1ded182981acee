"""`nilo lake compact`, `nilo lake vacuum`."""

# ruff: noqa: PLC0415  the lake's library is imported by the command that uses it

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from nilo_cli.ask import ask
from nilo_cli.context import settings_of
from nilo_cli.output import Json, show_rows, tell
from nilo_cli.topic_names import known_topics

app = typer.Typer(help="The files of the Delta Lake tables.", no_args_is_help=True)
Topics = Annotated[list[str] | None, typer.Option("--topic", help="Only this topic (repeatable).")]


@app.command()
def compact(ctx: typer.Context, topic: Topics = None, as_json: Json = False) -> None:
    """Make few large files of many small ones.

    A sink writes a file for each day every few seconds, and may go on meanwhile. Once a day is
    often enough for this; the old files stay until `nilo lake vacuum`.

    \b
    Example:
      nilo lake compact
      nilo lake compact --topic events.llm --json
    """
    from nilo_consumers.lake_care import compact as work

    settings = settings_of(ctx)
    rows = [asdict(done) for done in work(settings, known_topics(settings, topic))]
    show_rows(rows, ["topic", "files_before", "files", "rewritten_bytes"], as_json=as_json)


@app.command()
def vacuum(
    ctx: typer.Context,
    *,
    topic: Topics = None,
    keep_days: Annotated[
        float, typer.Option(min=0, help="What was in use in the last days stays.")
    ] = 7.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove files that compaction has replaced.

    \b
    Example:
      nilo lake vacuum --dry-run
      nilo lake vacuum --keep-days 2 --yes
    """
    from nilo_consumers.lake_care import vacuum as work

    settings = settings_of(ctx)
    topics, keep = known_topics(settings, topic), timedelta(days=keep_days)
    if not dry_run and not yes:
        ask(f"Remove old files under {settings.lake_location}?", "nothing was removed")
    rows = [asdict(one) for one in work(settings, topics, keep=keep, dry_run=dry_run)]
    show_rows(rows, ["topic", "path"], as_json=as_json)
    tell(f"{len(rows):,} files {'would be' if dry_run else 'were'} removed")
