"""`nilo replay`: any stretch of history through today's code."""

# ruff: noqa: PLC0415  the engine and the stores are imported by the command that uses them

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli import replay_backtest, replay_compare, replay_publish
from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json, Row, print_json, show_rows, wants_json
from nilo_cli.replay_options import (
    CatalogueDir,
    Id,
    Offsets,
    Out,
    Since,
    Source,
    Topics,
    Until,
    WarmUp,
    Where,
    Workers,
    asked_of,
)
from nilo_cli.times import time_of

if TYPE_CHECKING:
    from nilo_stream_processors.replay.folder import Folder

app = typer.Typer(help="History through today's code, and the difference.", no_args_is_help=True)
Speed = Annotated[str, typer.Option("--speed", help="1x, 60x, max.")]
_COLUMNS = ["id", "state", "source", "from", "to", "events", "of", "windows", "alerts"]


@app.callback()
def replay() -> None:
    """History through today's code, and the difference."""


@app.command()
def run(
    ctx: typer.Context,
    *,
    since: Since = None,
    until: Until = None,
    topic: Topics = None,
    where: Where = None,
    source: Source = "kafka",
    offsets: Offsets = None,
    warm_up: WarmUp = "1d",
    catalogue: CatalogueDir = None,
    out: Out = None,
    like: Annotated[
        str | None, typer.Option("--like", metavar="ID", help="The events of another replay.")
    ] = None,
    speed: Speed = "max",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Compute windows and alerts once more.

    Live topics and processors are left alone. The results go to topics of their own,
    replay.<id>.metrics.windows and replay.<id>.alerts, and to files, whose folder is told; with
    --out to files alone. It ends where the range ends, as the store is now. Stopped or killed,
    `nilo replay resume` goes on. NILO_REPLAY_RATE limits how many events a second it reads.

    \b
    Example:
      nilo replay run --from 2h --to now
      nilo replay run --topic events.llm --from 2025-06-01 --to 2025-06-08 --source parquet
      nilo replay run --offsets events.llm:0:1200-3400 --out /tmp/looked
      nilo replay run --from 1d --where model=atlas-large --catalogue ./rules --out /tmp/tried
    """
    from nilo_cli.replays.running import folder_of, make, make_from
    from nilo_cli.replays.running import run as run_replay
    from nilo_schemas.catalogue_files import load_catalogue

    settings, pace = settings_of(ctx), _speed(speed)
    loaded = load_catalogue(catalogue or settings.catalogue)
    if like is not None:
        if any((since, until, topic, where, offsets)):
            raise UsageError("--like has its own range: leave out --from, --to, --topic …")
        folder = make_from(settings, folder_of(settings, like).manifest().range, loaded, out=out)
    else:
        asked = asked_of(
            settings, source, topic, since, until, warm_up=warm_up, where=where, offsets=offsets
        )
        folder = make(settings, asked, loaded, out=out)
    run_replay(settings, folder, speed=pace, workers=workers)
    _show([folder], as_json=as_json)


@app.command()
def resume(
    ctx: typer.Context,
    replay: Id,
    *,
    speed: Speed = "max",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Go on with a replay that was stopped or killed.

    It begins at the last checkpoint. The result is what it would have been. One that is done
    stays as it is.

    \b
    Example:
      nilo replay resume 0601-1200-4f2a
    """
    from nilo_cli.replays.running import folder_of
    from nilo_cli.replays.running import run as run_replay

    settings = settings_of(ctx)
    folder = folder_of(settings, replay)
    run_replay(settings, folder, speed=_speed(speed), workers=workers)
    _show([folder], as_json=as_json)


@app.command("list")
def list_replays(ctx: typer.Context, *, as_json: Json = False) -> None:
    """List the replays of this installation, oldest first.

    \b
    Example:
      nilo replay list
    """
    from nilo_cli.replays.running import home_of
    from nilo_stream_processors.replay.folder import folders

    _show(folders(home_of(settings_of(ctx))), as_json=as_json)


for command in (
    replay_compare.diff,
    replay_backtest.backtest,
    replay_compare.canary,
    replay_publish.promote,
    replay_publish.repair,
):
    app.command()(command)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e9:
        raise UsageError(f"--speed {text!r}: use 1x, 60x or max")
    return speed


def _show(folders: list[Folder], *, as_json: bool) -> None:
    rows = [_row(folder) for folder in folders]
    if len(rows) == 1 and wants_json(as_json):
        print_json(rows[0])
    else:
        show_rows(rows, _COLUMNS, as_json=as_json)


def _row(folder: Folder) -> Row:
    manifest, done = folder.manifest(), folder.summary()
    told = done or folder.progress()
    counted, asked = told.get("tally", told), manifest.range
    return {
        "id": manifest.id,
        "state": "done" if done else "stopped or running",
        "source": asked.store,
        "from": _time(asked.since),
        "to": _time(asked.until),
        "events": counted.get("events", 0),
        "of": asked.events(),
        "late": counted.get("late", 0),
        "future": counted.get("future", 0),
        "unread": counted.get("unread", {}),
        "windows": told.get("windows", 0),
        "alerts": told.get("alerts", 0),
        "namespace": manifest.namespace,
        "folder": str(folder.path),
    }


def _time(microseconds: int | None) -> str | None:
    if microseconds is None:
        return None
    return f"{time_of(microseconds):%Y-%m-%dT%H:%M:%SZ}"
