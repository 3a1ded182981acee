"""Options that the commands of `nilo replay` share, and what they mean."""

# ruff: noqa: PLC0415  the engine and the stores are imported by the command that uses them

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nilo_cli.errors import UsageError
from nilo_cli.times import parse_time

if TYPE_CHECKING:
    from nilo_cli.replays.ranges import Asked
    from nilo_schemas.settings import Settings

FAILED = 1
Source = Annotated[
    Literal["kafka", "parquet", "archive"],
    typer.Option("--source", help="Where the events are read."),
]
LiveStore = Annotated[
    Literal["kafka", "postgres", "parquet"],
    typer.Option("--live", help="Where live windows are read."),
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
Code = Annotated[
    Path | None, typer.Option("--code", help="Another version: a wheel, or a checkout.")
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes that read.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="See `nilo replay list`; or a folder.")]


def asked_of(
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
    """What the options ask for; raises UsageError."""
    from nilo_cli.replays.ranges import Asked
    from nilo_schemas.catalogue import window_length

    now = datetime.now(UTC)
    begin, end = (None if text is None else parse_time(text, now) for text in (since, until))
    if begin and end and begin >= end:
        raise UsageError(f"--from {since} is not before --to {until}")
    try:
        length = window_length(warm_up)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--warm-up {warm_up!r}: {error}") from None
    named = [each.partition(":")[0] for each in offsets or () if ":" in each]
    return Asked(
        source,
        topics_of(settings, topic or sorted(set(named)) or None),
        begin,
        end,
        length,
        offsets or (),
        _pairs(where or []),
    )


def topics_of(settings: Settings, topic: list[str] | None) -> list[str]:
    """Topics of events without prefix; default: all. Raises UsageError."""
    from nilo_schemas.families import families

    names = [each.removeprefix(settings.topic_prefix) for each in topic or families()]
    for name in names:
        if name not in families():
            raise UsageError(f"no topic of events {name!r}; there are {', '.join(families())}")
    return names


def _pairs(where: list[str]) -> dict[str, str]:
    found = {}
    for each in where:
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise UsageError(f"--where {each!r}: use FIELD=VALUE, such as model=atlas-large")
        found[name] = value
    return found
