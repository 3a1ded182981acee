"""`nilo replay diff`, `canary`: what today's code, or another version, makes of history."""

# ruff: noqa: PLC0415  the engine and the stores are imported by the command that uses them

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json
from nilo_cli.replay_options import (
    FAILED,
    CatalogueDir,
    Code,
    LiveStore,
    Topics,
    Workers,
    topics_of,
)


def diff(
    ctx: typer.Context,
    old: Annotated[str, typer.Argument(metavar="ID", help="Against live, without another one.")],
    new: Annotated[str | None, typer.Argument(metavar="[ID]", help="Against this one.")] = None,
    *,
    catalogue: CatalogueDir = None,
    code: Code = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also a report with charts.")] = None,
    live: LiveStore = "kafka",
    workers: Workers = None,
    rows: Annotated[int, typer.Option("--rows", "-n", min=0, help="Rows of the table.")] = 20,
    as_json: Json = False,
) -> None:
    """Compare a replay with live, or with another one.

    Cell by cell: every window, and every transition of an alert. With --catalogue or --code its
    events run through these first, as another replay; another version of the code gets an
    environment of its own. Exit code 0: nothing differs; 1: something does. Windows that have
    events outside of the range are not compared. JSON lines have every difference, and the counts
    in the last line.

    \b
    Example:
      nilo replay diff 0601-1200-4f2a
      nilo replay diff 0601-1200-4f2a 0601-1410-07be --json
      nilo replay diff 0601-1200-4f2a --catalogue ./rules --html report.html
      nilo replay diff 0601-1200-4f2a --code ./nilometer-0.2.0-py3-none-any.whl
    """
    from nilo_cli.replays.difference import against_live, between
    from nilo_cli.replays.running import folder_of
    from nilo_cli.replays.show import show_difference
    from nilo_cli.replays.staging import Staging, again

    settings = settings_of(ctx)
    first = folder_of(settings, old)
    if new and (catalogue or code):
        raise UsageError("a second replay, or --catalogue and --code: not both")
    if catalogue or code:
        found = between(first, again(settings, first, Staging(catalogue, code), workers))
    elif new:
        found = between(first, folder_of(settings, new))
    else:
        found = against_live(settings, first, live)
    show_difference(found, rows, as_json=as_json)
    if html is not None:
        from nilo_cli.replays.report import write_report

        write_report(html, found, first.manifest())
    if not found.is_equal:
        raise typer.Exit(FAILED)


def canary(
    ctx: typer.Context,
    *,
    events: Annotated[int, typer.Option("--events", min=1, help="The last ones of a family.")] = (
        1000
    ),
    topic: Topics = None,
    catalogue: CatalogueDir = None,
    code: Code = None,
    live: LiveStore = "kafka",
    as_json: Json = False,
) -> None:
    """Try another version on the last events.

    The last events of each family run through it, and what comes out is compared with live. The
    last line is the verdict. Exit code 0: nothing differs; 1: something does, or the processors
    have not come to these events. Meant for a schedule: deploy/canary has files for cron and
    systemd.

    \b
    Example:
      nilo replay canary --code ./nilometer-0.2.0-py3-none-any.whl
      nilo replay canary --events 5000 --topic events.llm --catalogue ./rules
    """
    from nilo_cli.replays.canary import tried
    from nilo_cli.replays.show import show_tried
    from nilo_cli.replays.staging import Staging
    from nilo_schemas.catalogue_files import load_catalogue

    settings = settings_of(ctx)
    loaded = load_catalogue(settings.catalogue)
    topics = [each for each in topics_of(settings, topic) if each in loaded.topics()]
    staging = Staging(catalogue, code)
    found = [
        tried(settings, loaded, each, staging=staging, last=events, live=live) for each in topics
    ]
    if not show_tried(found, as_json=as_json):
        raise typer.Exit(FAILED)
