"""`nilo advise`: what the last days say of the rules, and of what the metrics cost."""

# ruff: noqa: PLC0415  models, the engine and clients are imported by the command that uses them

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from nilo_cli.alerts_why_not import Store
from nilo_cli.context import settings_of
from nilo_cli.output import Json, console, print_json, printable, tell, wants_json

if TYPE_CHECKING:
    from nilo_cli.advising.finding import Advice
    from nilo_cli.advising.week import Week
    from nilo_schemas.settings import Settings

_HEADS = {
    "always_fires": "Fire most of the time",
    "flaps": "Flap",
    "never_fires": "Never fire",
    "never_judged": "Have not seen enough to fire",
    "no_windows": "Have nothing to look at",
    "costs": "Cost most",
    "series": "Make most series",
    "undocumented": "Tell nobody what to do",
}


def advise(
    ctx: typer.Context,
    *,
    days: Annotated[int, typer.Option(min=1, max=90, help="How many days to look at.")] = 7,
    store: Annotated[Store, typer.Option("--from", help="Where windows are read.")] = Store.KAFKA,
    as_json: Json = False,
) -> None:
    """Advise on rules and metrics by the windows of the last days.

    All rules are run once more. Which never fire, and by how much; which fire most of the time;
    which flap; which series cost most; which metrics make most series; and what to change.

    \b
    Example:
      nilo advise
      nilo advise --days 30 --from postgres --json
    """
    from nilo_cli.advising.advice import advice_of

    now = datetime.now(UTC)
    week = _week(settings_of(ctx), store.value, now - timedelta(days=days), now)
    found = list(advice_of(week)) if week.last else []
    if wants_json(as_json):
        for each in found:
            print_json(each.as_json())
    elif found:
        _show(found, week)
    if not week.last:
        print(f"no final windows in {store.value} in {days} days", file=sys.stderr)


def _week(settings: Settings, store: str, since: datetime, until: datetime) -> Week:
    from nilo_cli.advising.week import Week
    from nilo_cli.rerun.slices import Wanted, slices
    from nilo_schemas.catalogue_files import load_catalogue

    catalogue = load_catalogue(settings.catalogue)
    week = Week(catalogue, settings.series_cap, settings.partitions)
    for each in slices(settings, store, Wanted(week.wanted(), since, until)):
        week.take(each.rows, each.safe)
        tell(f"{week.days:.2f} days of windows")
    week.finish()
    return week


def _show(found: Sequence[Advice], week: Week) -> None:
    from rich.padding import Padding
    from rich.text import Text

    screen = console()
    windows = sum(rule.listener.judged for rule in week.rules.values())
    screen.print(f"{week.days:.3g} days, {len(week.rules)} rules, {windows:,} verdicts")
    for kind, head in _HEADS.items():
        mine = [each for each in found if each.kind == kind]
        if mine:
            screen.print(Text(f"\n{head}", "bold cyan"))
        if kind == "no_windows":
            # The usual case where not all families are used: a line for each would hide the rest.
            names = ", ".join(each.about for each in mine)
            screen.print(Padding(Text(names, "bold"), (0, 0, 0, 2)))
            screen.print(Padding(Text(f"→ {mine[0].advice}", "green"), (0, 0, 0, 4)))
            continue
        for each in mine:
            line = Text.assemble((each.about, "bold"), " ", printable(each.finding))
            screen.print(Padding(line, (0, 0, 0, 2)))
            screen.print(Padding(Text(f"→ {printable(each.advice)}", "green"), (0, 0, 0, 4)))
