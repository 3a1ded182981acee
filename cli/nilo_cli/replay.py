"""`nilo replay`: any stretch of history through today's code."""

# ruff: noqa: PLC0415  the engine and the stores are imported by the command that uses them

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json, Row, print_json, show_rows, wants_json
from nilo_cli.times import parse_time

if TYPE_CHECKING:
    from nilo_cli.replays.ranges import Asked
    from nilo_schemas.settings import Settings
    from nilo_stream_processors.replay.folder import Folder

FAILED = 1
app = typer.Typer(help="History through today's code, and the difference.", no_args_is_help=True)
Source = Annotated[
    Literal["kafka", "parquet", "archive"],
    typer.Option("--source", help="Where the events are read."),
]
Since = Annotated[str | None, typer.Option("--from", help="Windows since: 1h (ago) or a time.")]
Until = Annotated[str | None, typer.Option("--to", help="Windows that end by then.")]
Topics = Annotated[
    list[str] | None, typer.Option("--topic", help="Only this topic of events (repeatable).")
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="FIELD=VALUE", help="Only these events (repeatable)."),
]
Offsets = Annotated[
    list[str] | None,
    typer.Option(
        "--offsets",
        metavar="TOPIC:PARTITION:FIRST-LAST",
        help="Only these offsets (repeatable); -1000: the last 1,000 of each partition.",
    ),
]
WarmUp = Annotated[
    str, typer.Option("--warm-up", help="So much earlier the rules begin to look: 1d.")
]
CatalogueDir = Annotated[
    Path | None, typer.Option("--catalogue", help="Metrics and rules: another folder.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Files alone, in this folder; no topics.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes that read.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="See `nilo replay list`; or a folder.")]
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
    speed: Annotated[str, typer.Option("--speed", help="1x, 60x, max.")] = "max",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Compute windows and alerts once more; live topics and processors are left alone.

    The results go to topics of their own, replay.<id>.metrics.windows and replay.<id>.alerts, and
    to files, whose folder is told; with --out to files alone. It ends where the range ends, as the
    store is now. Stopped or killed, `nilo replay resume` goes on. NILO_REPLAY_RATE limits how many
    events a second it reads.

    \b
    Example:
      nilo replay run --from 2h --to now
      nilo replay run --topic events.llm --from 2025-06-01 --to 2025-06-08 --source parquet
      nilo replay run --offsets events.llm:0:1200-3400 --out /tmp/looked
      nilo replay run --from 1d --where model=atlas-large --catalogue ./rules --out /tmp/tried
    """
    from nilo_cli.replays.running import make
    from nilo_cli.replays.running import run as run_replay
    from nilo_schemas.catalogue_files import load_catalogue

    settings, pace = settings_of(ctx), _speed(speed)
    asked = _asked(
        settings, source, topic, since, until, warm_up=warm_up, where=where, offsets=offsets
    )
    loaded = load_catalogue(catalogue or settings.catalogue)
    folder = make(settings, asked, loaded, out=out)
    run_replay(settings, folder, speed=pace, workers=workers)
    _show([folder], as_json=as_json)


@app.command()
def resume(
    ctx: typer.Context,
    replay: Id,
    *,
    speed: Annotated[str, typer.Option("--speed", help="1x, 60x, max.")] = "max",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Go on with a replay that was stopped or killed, from its last checkpoint.

    The result is what it would have been. One that is done stays as it is.

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
    """The replays of this installation, oldest first, and how far they are.

    \b
    Example:
      nilo replay list
    """
    from nilo_cli.replays.running import home_of
    from nilo_stream_processors.replay.folder import folders

    _show(folders(home_of(settings_of(ctx))), as_json=as_json)


@app.command()
def diff(
    ctx: typer.Context,
    old: Annotated[str, typer.Argument(metavar="ID", help="Against live, without another one.")],
    new: Annotated[str | None, typer.Argument(metavar="[ID]", help="Against this one.")] = None,
    *,
    live: Annotated[
        Literal["kafka", "postgres", "parquet"],
        typer.Option("--live", help="Where live windows are read."),
    ] = "kafka",
    rows: Annotated[int, typer.Option("--rows", "-n", min=0, help="Rows of the table.")] = 20,
    as_json: Json = False,
) -> None:
    """Compare a replay with what was produced live, or with another replay, cell by cell.

    Exit code 0: nothing differs; 1: something does. Windows that have events outside of the range
    are not compared. JSON lines have every difference, and the counts in the last line.

    \b
    Example:
      nilo replay diff 0601-1200-4f2a
      nilo replay diff 0601-1200-4f2a 0601-1410-07be --json
    """
    from nilo_cli.replays.difference import against_live, between
    from nilo_cli.replays.running import folder_of
    from nilo_cli.replays.show import show_difference

    settings = settings_of(ctx)
    first = folder_of(settings, old)
    if new is None:
        found = against_live(settings, first, live)
    else:
        found = between(first, folder_of(settings, new))
    show_difference(found, rows, as_json=as_json)
    if not found.is_equal:
        raise typer.Exit(FAILED)


def _asked(
    settings: Settings,
    source: Any,
    topic: list[str] | None,
    since: str | None,
    until: str | None,
    *,
    warm_up: str,
    where: list[str] | None,
    offsets: list[str] | None,
) -> Asked:
    from nilo_cli.replays.ranges import Asked
    from nilo_schemas.catalogue import window_length
    from nilo_schemas.families import families

    now = datetime.now(UTC)
    begin, end = (None if text is None else parse_time(text, now) for text in (since, until))
    if begin and end and begin >= end:
        raise UsageError(f"--from {since} is not before --to {until}")
    names = [each.removeprefix(settings.topic_prefix) for each in topic or families()]
    for name in names:
        if name not in families():
            raise UsageError(f"no topic of events {name!r}; there are {', '.join(families())}")
    try:
        length = window_length(warm_up)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--warm-up {warm_up!r}: {error}") from None
    return Asked(source, names, begin, end, length, offsets or (), _pairs(where or []))


def _pairs(where: list[str]) -> dict[str, str]:
    found = {}
    for each in where:
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise UsageError(f"--where {each!r}: use FIELD=VALUE, such as model=atlas-large")
        found[name] = value
    return found


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
    return f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%Y-%m-%dT%H:%M:%SZ}"
