"""`nilo replay promote`, `repair`: windows made anew become the live ones."""

# ruff: noqa: PLC0415  the engine and the stores are imported by the command that uses them

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli.ask import ask
from nilo_cli.context import settings_of
from nilo_cli.output import Json, print_json, wants_json
from nilo_cli.replay_options import Id, LiveStore, Since, Source, Topics, Until, Workers, asked_of

if TYPE_CHECKING:
    from nilo_cli.replays.promote import Promotion
    from nilo_schemas.settings import Settings

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def promote(
    ctx: typer.Context,
    replay: Id,
    *,
    live: LiveStore = "kafka",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make the windows of a replay the live ones, as new revisions.

    Only what differs is published, with the revision behind the newest one; sinks store it as they
    store any window. What the replay does not have is withdrawn. Windows that may still change
    live are left for later. Nobody is alerted. Once more, it changes nothing.

    \b
    Example:
      nilo replay promote 0601-1200-4f2a --dry-run
      nilo replay promote 0601-1200-4f2a --yes
    """
    from nilo_cli.replays.promote import plan
    from nilo_cli.replays.running import folder_of

    settings = settings_of(ctx)
    _publish(
        settings,
        plan(settings, folder_of(settings, replay), live),
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )


def repair(
    ctx: typer.Context,
    *,
    since: Since = None,
    until: Until = None,
    topic: Topics = None,
    source: Source = "kafka",
    live: LiveStore = "kafka",
    workers: Workers = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take late events into their windows after all.

    Windows whose late events became dead letters are computed once more; those that change are
    promoted. In this replay no event is late. Windows in whose time no letter lies are left as
    they are.

    \b
    Example:
      nilo replay repair --from 2d --to 1d --dry-run
      nilo replay repair --from 2025-06-01 --to 2025-06-02 --yes
    """
    from nilo_cli.replays.repair import repaired
    from nilo_schemas.catalogue_files import load_catalogue

    settings = settings_of(ctx)
    asked = asked_of(settings, source, topic, since, until, warm_up="1s", where=None, offsets=None)
    found = repaired(settings, asked, load_catalogue(settings.catalogue), live, workers)
    _publish(settings, found, dry_run=dry_run, yes=yes, as_json=as_json)


def _publish(
    settings: Settings, found: Promotion, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    from nilo_cli.replays.promote import promote as publish

    told = found.counts()
    many = found.changed + found.added + found.withdrawn
    if many and not dry_run:
        if not yes:
            ask(f"Publish {many:,} new revisions of windows?", "nothing was published")
        publish(settings, found)
    if wants_json(as_json):
        print_json(told | {"published": many if not dry_run else 0})
        return
    print(
        f"{'would publish' if dry_run else 'published'} {many:,} new revisions "
        f"({found.changed:,} changed, {found.added:,} added, {found.withdrawn:,} withdrawn); "
        f"{found.equal:,} are equal, {found.open:,} may still change live, {found.cut:,} have "
        "events outside of the range"
    )
