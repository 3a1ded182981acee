"""A difference as a page: what differs where, with charts; one file, without scripts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from nilo_cli.charts import Chart, Panel, Series
from nilo_cli.errors import UsageError
from nilo_cli.output import Row
from nilo_cli.replays.cells import Change
from nilo_cli.replays.difference import Difference
from nilo_cli.replays.show import ALERT_COLUMNS, COLUMNS, alert_row, cell_row, verdict, weight
from nilo_cli.times import time_of
from nilo_stream_processors.replay.manifest import Manifest, Range

_ROWS, _CHARTS, _BARS = 200, 6, 12
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; color: #222; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #ddd; }
td { overflow-wrap: anywhere; } .equal { color: #00734f; } .differs { color: #b04500; }
svg { max-width: 100%; height: auto; } figure { margin: 1.5rem 0; }
"""


def write_report(path: Path, found: Difference, manifest: Manifest) -> None:
    """Write the page.

    Raises:
        UsageError: the file cannot be written.
        NoChartsError: matplotlib is not installed.
    """
    try:
        path.write_text("".join(_page(found, manifest)), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _page(found: Difference, manifest: Manifest) -> Iterator[str]:
    state = ("equal", "Equal") if found.is_equal else ("differs", "Different")
    yield (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>Replay {escape(manifest.id)}</title><style>{_STYLE}</style>"
        f'<h1>Replay {escape(manifest.id)}: <span class="{state[0]}">{state[1]}</span></h1>'
        f"<p>{escape(verdict(found))}</p><p>{escape(_range(manifest.range))}</p>"
    )
    changes = found.windows.changes
    if changes:
        yield f"<h2>Windows</h2><figure>{_by_metric(changes).svg()}</figure>"
        for chart in _over_time(changes):
            yield f"<figure>{chart.svg()}</figure>"
        largest = sorted(changes, key=weight, reverse=True)[:_ROWS]
        yield f"<h3>The {len(largest):,} largest of {len(changes):,} differences</h3>"
        yield from _table(COLUMNS, [cell_row(change) for change in largest])
    if found.alerts:
        yield "<h2>Alerts</h2>"
        yield from _table(ALERT_COLUMNS, [alert_row(each) for each in found.alerts[:_ROWS]])
    yield "</html>\n"


def _range(asked: Range) -> str:
    ends = [None if t is None else f"{time_of(t):%Y-%m-%d %H:%M:%S} UTC" for t in asked.times()]
    since, until = ends
    bounds = f"from {since or 'the beginning'} to {until or 'the end'}"
    where = "".join(f", {name} = {value}" for name, value in asked.where.items())
    return (
        f"{asked.events():,} offsets of {', '.join(asked.topics())} out of {asked.store}, "
        f"windows {bounds}{where}"
    )


def _by_metric(changes: Sequence[Change]) -> Chart:
    """How many cells differ of the metrics of which most do."""
    cells = {(each.kind, each.metric, _cell(each)) for each in changes}
    most = [name for name, _ in Counter(metric for _, metric, _ in cells).most_common(_BARS)]
    counted = Counter((kind, metric) for kind, metric, _ in cells)
    series = [
        Series(kind, most, [counted[kind, metric] for metric in most], "bars")
        for kind in ("changed", "added", "removed")
        if any(counted[kind, metric] for metric in most)
    ]
    return Chart("Windows that differ, by metric", [Panel(series, "metric", "windows")])


def _over_time(changes: Iterable[Change]) -> Iterator[Chart]:
    """Old and new values of the series with the largest changes."""
    of_series: dict[tuple[str, ...], list[Change]] = defaultdict(list)
    for each in changes:
        if each.kind == "changed":
            of_series[each.metric, each.window, each.field, _labels(each)].append(each)
    weights = {name: max(map(weight, mine)) for name, mine in of_series.items()}
    for name in sorted(weights, key=lambda name: (-weights[name], name))[:_CHARTS]:
        mine = sorted(of_series[name], key=lambda each: each.window_start)
        begin = mine[0].window_start
        minutes = [(each.window_start - begin).total_seconds() / 60 for each in mine]
        metric, window, field, labels = name
        panel = Panel(
            [
                Series("old", minutes, [each.old for each in mine], "scatter"),
                Series("new", minutes, [each.new for each in mine], "scatter"),
            ],
            f"minutes from {begin:%Y-%m-%d %H:%M:%S} UTC",
            field,
        )
        yield Chart(f"{field} of {metric} {window} {labels}".strip(), [panel])


def _cell(change: Change) -> tuple[str, str, str]:
    return change.window, str(change.window_start), _labels(change)


def _labels(change: Change) -> str:
    return " ".join(f"{name}={value}" for name, value in change.dimensions.items())


def _table(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    heads = "".join(f"<th>{escape(name)}</th>" for name in columns)
    yield f"<table><thead><tr>{heads}</tr></thead><tbody>"
    for row in rows:
        values = (row.get(name) for name in columns)
        cells = "".join(f"<td>{escape('' if v is None else str(v))}</td>" for v in values)
        yield f"<tr>{cells}</tr>"
    yield "</tbody></table>"
