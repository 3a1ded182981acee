"""What versions of rules would have done, on a terminal: old beside new."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nilo_cli.backtest.report import Outcome, condition_of
from nilo_cli.output import printable
from nilo_stream_processors.engine.detect.transition import time_of
from nilo_stream_processors.engine.detect.wording import labelled, span

_SHORT = 0.95  # of the days that were asked for
_SHOWN = 3  # series


def show(versions: Sequence[tuple[str, Outcome]], asked_days: float, screen: Console) -> None:
    """Print the versions of one rule side by side.

    Args:
        versions: each with the head of its column.
        asked_days: the length of the range.
        screen: where to.
    """
    outcomes = [outcome for _, outcome in versions]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column(Text(outcomes[0].version.rule.name, "bold"), no_wrap=True)
    for head, _ in versions:
        table.add_column(head)
    told = [_rows(outcome) for outcome in outcomes]
    for name in told[0]:
        table.add_row(name, *(Text(printable(rows[name])) for rows in told))
    screen.print(table)
    for line in _notes(outcomes[-1], asked_days):
        screen.print(Text(f"  {line}", "dim"))


def _rows(outcome: Outcome) -> dict[str, str]:
    version, found = outcome.version, outcome.figures
    pages = found.pages_per_day
    rows = {
        "condition": condition_of(version.rule),
        "series": f"{version.series:,}",
        "windows": f"{version.seen.windows:,}",
        "firings": f"{found.firings:,}",
        "pages a day": "" if pages is None else f"{pages:.3g}",
        "flaps": f"{found.flaps:,}" + (f" ({found.held:,} held)" if found.held else ""),
        "time firing": span(found.time),
        "longest": span(found.longest),
        "median": _time(found.median),
        "noisiest": "; ".join(
            f"{labelled(json.loads(each.series)) or 'all of the metric'} ({each.firings:,})"
            for each in found.noisiest[:_SHOWN]
        ),
    }
    return rows | _scored(outcome)


def _scored(outcome: Outcome) -> dict[str, str]:
    score = outcome.score
    if score is None:
        return {}
    delays = (score.median, score.delay(0.9), score.delay(1.0))
    return {
        "incidents found": _share(len(score.delays), score.incidents),
        "alerts in incidents": _share(score.true, score.episodes),
        "F1": "" if score.f1 is None else f"{score.f1:.3f}",
        "time to detect": ", ".join(
            f"{name} {_time(delay)}"
            for name, delay in zip(("median", "p90", "max"), delays, strict=True)
            if delay is not None
        ),
        "missed (lines)": ", ".join(map(str, score.missed)),
    }


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}" + (f" ({part / whole:.0%})" if whole else "")


def _time(value: float | None) -> str:
    return "" if value is None else span(round(value))


def _notes(outcome: Outcome, asked_days: float) -> list[str]:
    version, days = outcome.version, outcome.figures.days
    found = []
    if days < _SHORT * asked_days:
        since = f" from {time_of(version.seen.first):%Y-%m-%d %H:%M}" if version.seen.first else ""
        found.append(f"there are windows of {days:.3g} of {asked_days:.3g} days{since}")
    if version.seen.windows and not version.counting.judged:
        found.append("it could judge none of them: `nilo alerts why-not` tells what they lack")
    if version.capped:
        found.append(f"{version.capped:,} more alerts were not begun: it has too many at a time")
    if outcome.figures.carried:
        found.append(f"{outcome.figures.carried:,} more alerts fired already when the range began")
    if outcome.score and outcome.score.outside:
        found.append(
            f"{outcome.score.outside:,} incidents do not count: no windows when they began"
        )
    return found
