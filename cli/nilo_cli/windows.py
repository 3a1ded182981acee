"""`nilo windows`: the windows of a metric as a table and as a line per series."""

# ruff: noqa: PLC0415  models and stores are imported by the command that uses them

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nilo_cli.context import settings_of
from nilo_cli.errors import UsageError
from nilo_cli.output import Json, Row, print_json, printable, show_rows, wants_json
from nilo_cli.times import parse_time

if TYPE_CHECKING:
    from nilo_schemas.catalogue import Metric
    from nilo_schemas.results import MetricWindow
    from nilo_schemas.settings import Settings

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60  # windows in a line
PLAIN = ("count", "errors", "sum", "min", "max", "mean", "rate", "error_ratio")
_USUAL = ("p95", "mean", "rate")
_COLUMNS = ("from", "count", "errors", "mean", "p50", "p95", "p99", "max", "series")


class Store(StrEnum):
    """Where windows are read from."""

    POSTGRES = "postgres"
    PARQUET = "parquet"
    SQLITE = "sqlite"


def windows(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="METRIC", help="See `nilo metrics list`.")],
    *,
    window: Annotated[
        str | None, typer.Option(help="Such as 1m; default: the metric's first.")
    ] = None,
    store: Annotated[Store, typer.Option("--from", help="The store to read.")] = Store.POSTGRES,
    where: Annotated[
        list[str] | None, typer.Option(metavar="DIMENSION=VALUE", help="Only these series.")
    ] = None,
    aggregate: Annotated[
        str | None, typer.Option(help="What the lines show: p95, mean, count, error_ratio …")
    ] = None,
    since: Annotated[str | None, typer.Option(help="1h (before now), or an ISO time.")] = None,
    as_of: Annotated[str | None, typer.Option(help="What was known then: 1h, ISO time.")] = None,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="Rows of the table.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the final windows of a metric.

    The newest as a table (times are UTC), and each series as a line of bars. JSON lines hold all
    windows, with histograms and with the offsets of the events they were made of.

    \b
    Example:
      nilo windows llm.duration
      nilo windows llm.duration --window 1m --where model=atlas-large --aggregate p99 --since 1h
      nilo windows llm.calls --from parquet --as-of 2025-06-01T12:00:00Z --json
    """
    from nilo_cli.metrics import metric_of

    settings, now = settings_of(ctx), datetime.now(UTC)
    metric = metric_of(settings, name)
    _check_aggregate(aggregate)
    found = _read(
        settings,
        name,
        store,
        window=_checked_window(name, metric, window),
        dimensions=_dimensions(name, metric, where or []),
        since=None if since is None else parse_time(since, now),
        as_of=None if as_of is None else parse_time(as_of, now),
    )
    if wants_json(as_json):
        for each in found:
            print_json(each.model_dump(mode="json", exclude_none=True))
    elif found:
        _show(found, aggregate, rows)
    else:
        asked = ", or none that match" if where or since or as_of else ""
        print(f"no final windows of {name} in {store.value} yet{asked}", file=sys.stderr)


def _read(settings: Settings, name: str, store: Store, **asked: Any) -> list[MetricWindow]:
    from nilo_consumers import windows_parquet, windows_postgres, windows_sqlite

    read = {
        Store.POSTGRES: windows_postgres,
        Store.PARQUET: windows_parquet,
        Store.SQLITE: windows_sqlite,
    }
    return read[store](settings, name, **asked)


def _checked_window(name: str, metric: Metric, window: str | None) -> str:
    known = [one.text for one in metric.resolutions()]
    if window is not None and window not in known:
        raise UsageError(f"{name} has no window {window!r}; known: {', '.join(known)}")
    return window or metric.windows[0]


def _dimensions(name: str, metric: Metric, where: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in where:
        dimension, equals, value = text.partition("=")
        if not equals or dimension not in metric.dimensions:
            known = ", ".join(metric.dimensions) or "none"
            raise UsageError(f"--where {text!r}: {name} has the dimensions: {known}")
        pairs[dimension] = value
    return pairs


def _check_aggregate(aggregate: str | None) -> None:
    if aggregate is None or aggregate in PLAIN or aggregate.removeprefix("p").isdecimal():
        return
    raise UsageError(f"unknown aggregate {aggregate!r}; known: {', '.join(PLAIN)}, p50, p95 …")


def _show(found: Sequence[MetricWindow], aggregate: str | None, rows: int) -> None:
    table = [_row(each) for each in found[-rows:]]
    columns = [name for name in _COLUMNS if any(row.get(name) is not None for row in table)]
    show_rows(table, columns, as_json=False)
    chosen, unit = aggregate or _usual(found), found[0].unit
    number = f"{len(found):,} window{'s' if len(found) > 1 else ''}"
    print(f"{chosen} of {number} of {found[0].window}, each line from its lowest up:")
    for dimensions, series in _by_series(found).items():
        values = gapless([(each, value_of(each, chosen)) for each in series[-WIDTH:]])
        told = f"{_span(values)} {_unit(chosen, unit)}".rstrip()
        print(f"{bars(values)}  {printable(dimensions)}  {told}")


def _row(each: MetricWindow) -> Row:
    plain = {name: value_of(each, name) for name in PLAIN}
    names = {"from": f"{each.window_start:%m-%d %H:%M:%S}", "series": _series(each)}
    return {**each.quantiles, **plain, **names}


def _usual(found: Sequence[MetricWindow]) -> str:
    """The aggregate that says most among those that these windows have."""
    for name in _USUAL:
        if any(value_of(each, name) is not None for each in found):
            return name
    return "count"


def value_of(each: MetricWindow, aggregate: str) -> float | None:
    """The value of an aggregate; None when the window has none."""
    if aggregate in PLAIN:
        value: float | None = getattr(each, aggregate)
        return value
    return each.quantiles.get(aggregate)


def _series(each: MetricWindow) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(each.dimensions.items()) if value)


def _unit(aggregate: str, unit: str) -> str:
    return "" if aggregate in ("count", "errors", "rate", "error_ratio") else unit


def _by_series(found: Iterable[MetricWindow]) -> dict[str, list[MetricWindow]]:
    series: dict[str, list[MetricWindow]] = {}
    for each in found:
        series.setdefault(_series(each), []).append(each)
    return dict(sorted(series.items()))


def gapless(series: Sequence[tuple[MetricWindow, float | None]]) -> list[float | None]:
    """The newest values of a series in time order, None for each window that is missing.

    No session is missing: they begin at any time.
    """
    from nilo_schemas.windows import parse_window

    newest = series[-1][0]
    kind = parse_window(newest.window)
    if kind.kind == "session":
        return [value for _, value in series[-WIDTH:]]
    values: list[float | None] = [None] * WIDTH
    for each, value in series:
        back = (newest.window_start - each.window_start) // kind.hop
        if back < WIDTH:
            values[WIDTH - 1 - back] = value
    begin = next((place for place, value in enumerate(values) if value is not None), WIDTH)
    return values[begin:]


def bars(values: Sequence[float | None]) -> str:
    """A line of bars from the lowest to the highest value; a blank where there is none."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    step = (high - low) / (len(BARS) - 1)
    if not step:
        return "".join(" " if value is None else BARS[0] for value in values)
    return "".join(" " if value is None else BARS[round((value - low) / step)] for value in values)


def _span(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{min(known):.4g} to {max(known):.4g}" if known else "no value"
