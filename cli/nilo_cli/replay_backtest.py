"""`nilo replay backtest`: what a rule would have done."""

# ruff: noqa: PLC0415  models, the engine and clients are imported by the command that uses them

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json
from nilo_cli.times import parse_time

_DAYS = 30


class Store(StrEnum):
    """Where the windows are read."""

    POSTGRES = "postgres"
    PARQUET = "parquet"
    KAFKA = "kafka"


def backtest(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="RULE.yaml", exists=True, dir_okay=False, help="A catalogue file with rules."
        ),
    ],
    *,
    rule: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this rule of the file.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="How many days.", show_default=f"{_DAYS}")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Instead of --days: 72h (before now) or a time.")
    ] = None,
    until: Annotated[str, typer.Option("--to", help="Up to when.")] = "now",
    store: Annotated[Store, typer.Option(help="Where windows are read.")] = Store.POSTGRES,
    warm_up: Annotated[
        str, typer.Option(help="So much before is looked at too, for the rules to learn from.")
    ] = "7d",
    incidents: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", exists=True, dir_okay=False, help="Incidents: start,end and labels."
        ),
    ] = None,
    slack: Annotated[
        str | None, typer.Option(help="So long before and after an incident counts as it: 5m.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUES", help="threshold=1..5, for=1,2,5; once or twice."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The sweep as a .png or .svg.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what a new or changed alert rule would have done.

    The rule is run on the final windows of the last days, as the processors would have run it. A
    rule whose name is in the catalogue is shown beside that one.

    \b
    Example:
      nilo replay backtest slow.yaml --days 30
      nilo replay backtest slow.yaml --incidents incidents.csv --slack 5m
      nilo replay backtest slow.yaml --sweep threshold=1..5/0.5 --plot slow.svg
    """
    from nilo_cli.backtest import command
    from nilo_cli.backtest.asked import Asked

    begin, end = _range(days, since, until)
    given = command.given(settings_of(ctx), file, rule, incidents)
    found = given.incidents.found if given.incidents else None
    asked = Asked(begin, end, _span(warm_up), store.value, found, _span(slack))
    if sweep or plot:
        command.sweep(given, asked, sweep or [], plot, as_json=as_json)
    else:
        command.report(given, asked, as_json=as_json)


def _range(days: int | None, since: str | None, until: str) -> tuple[datetime, datetime]:
    if since is not None and days is not None:
        raise UsageError("--days and --from name the same: give one of them")
    now = datetime.now(UTC)
    end = parse_time(until, now)
    begin = parse_time(since, now) if since else end - timedelta(days=days or _DAYS)
    if begin >= end:
        raise UsageError(f"--from {begin.isoformat()} is not before --to {end.isoformat()}")
    return begin, end


def _span(text: str | None) -> timedelta:
    from nilo_schemas.windows import window_length

    try:
        return timedelta(0) if text is None else window_length(text)
    except ValueError:
        raise UsageError(f"{text!r} is no length of time: write 90s, 5m, 1h or 7d") from None
