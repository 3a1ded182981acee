"""Results for people (a table on a terminal) and for programs (JSON lines everywhere else)."""

# ruff: noqa: PLC0415  rich is imported only where something is drawn with it

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nilo_cli.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]
Json = Annotated[
    bool, typer.Option("--json", help="JSON lines; the default when piped.", show_default=False)
]


def wants_json(asked: bool) -> bool:
    """Whether to write JSON lines: asked for, or standard output is no terminal."""
    return asked or not sys.stdout.isatty()


def show_rows(rows: Iterable[Row], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows; a table shows only `columns`, JSON lines every key."""
    if wants_json(as_json):
        for row in rows:
            print_json(row)
    else:
        console().print(_table(rows, columns))


def print_json(value: Any) -> None:
    """Print one value as a line of JSON; what JSON does not know becomes text."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def write_json(path: Path, value: Any) -> None:
    """Write one value as JSON to a file; raises UsageError when it cannot be written."""
    try:
        path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def console() -> Console:
    """The terminal; rich itself minds NO_COLOR and pipes."""
    from rich.console import Console

    return Console(highlight=False)


def tell(line: str) -> None:
    """Progress: to standard error, and only when somebody looks at it."""
    if sys.stderr.isatty():
        print(f"  {printable(line)}", file=sys.stderr, flush=True)


@contextmanager
def progress(doing: str, unit: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """A bar on standard error, when that is a terminal: it is told how much is done, and of what.

    Args:
        doing: what takes its time, such as playing.
        unit: what is counted, such as rows.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    columns = (doing, BarColumn(), MofNCompleteColumn(), unit, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def printable(text: str) -> str:
    """The text without characters that would steer the terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _table(rows: Iterable[Row], columns: Sequence[str]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(columns):
        numeric = any(isinstance(row.get(column), int | float) for row in rows)
        # a name that is cut cannot be copied; numbers that are cut are wrong
        table.add_column(
            column.replace("_", " "),
            justify="right" if numeric else "left",
            no_wrap=numeric or place == 0,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(printable(_cell(row.get(column)))) for column in columns))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
