"""Charts in one style, as PNG or SVG: the one place that draws with matplotlib.

The same chart gives the same bytes, by the same version of matplotlib.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nilo_cli.errors import NoChartsError, UsageError

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ImportError:
    raise NoChartsError(
        "charts need matplotlib: install it with: pip install 'nilometer[charts]'"
    ) from None

FORMATS = ("png", "svg")
# Okabe and Ito's colours, which the colour-blind can tell apart (jfly.uni-koeln.de/color), without
# the yellow, which is too pale for lines on white; markers and dashes tell lines apart as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")
_STYLE: dict[Any, Any] = {  # their names are a Literal of three hundred
    "svg.hashsalt": "nilometer",
    "svg.fonttype": "path",  # looks the same where the font is absent
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#DDDDDD",
    "axes.edgecolor": "#888888",
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_WIDTH, _HEIGHT, _DPI = 7.0, 2.9, 150  # inches; of each panel


@dataclass(frozen=True)
class Series:
    """Points of one name: None in `y` is a gap.

    Attributes:
        x: numbers, or texts for bars and lines over categories.
        kind: how they are drawn.
    """

    name: str
    x: Sequence[float] | Sequence[str]
    y: Sequence[float | None]
    kind: Literal["line", "bars", "scatter"] = "line"


@dataclass(frozen=True)
class Panel:
    """Series over one pair of axes, whose labels name the units.

    Attributes:
        limits: of the y axis; default: from 0 to above the largest value, or as it comes below 0.
        marks: places on the x axis that a vertical line names.
    """

    series: Sequence[Series]
    x_label: str
    y_label: str
    title: str = ""
    limits: tuple[float, float] | None = None
    marks: Sequence[tuple[float, str]] = field(default=())


@dataclass(frozen=True)
class Chart:
    """Panels one below the other."""

    title: str
    panels: Sequence[Panel]

    def write(self, path: Path) -> None:
        """Write it as PNG or SVG, by the end of the name; raises UsageError."""
        form = format_of(path)
        try:
            path.write_bytes(self._drawn(form))
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error

    def svg(self) -> str:
        """It as an SVG element to put into a page: no prolog, no scripts, nothing from outside."""
        text = self._drawn("svg").decode()
        return text[text.index("<svg") :]

    def _drawn(self, form: str) -> bytes:
        out = io.BytesIO()
        with matplotlib.rc_context(_STYLE):
            figure = Figure((_WIDTH, _HEIGHT * len(self.panels) + 0.4), layout="constrained")
            figure.suptitle(self.title, x=0.01, ha="left", fontsize=12, fontweight="bold")
            shown = figure.subplots(len(self.panels), squeeze=False)
            for axes, panel in zip(shown[:, 0], self.panels, strict=True):
                _draw(axes, panel)
            metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
            figure.savefig(out, format=form, dpi=_DPI, metadata=metadata[form])
        return out.getvalue()


def format_of(path: Path) -> str:
    """`png` or `svg`, by the end of a name; raises UsageError."""
    form = path.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise UsageError(f"{path}: a chart is written as .png or .svg")
    return form


def _draw(axes: Axes, panel: Panel) -> None:
    for number, series in enumerate(panel.series):
        _draw_series(axes, panel, number, series)
    for place, name in panel.marks:
        axes.axvline(place, color="#888888", linewidth=1, linestyle=(0, (2, 2)), label=name)
    axes.set(xlabel=panel.x_label, ylabel=panel.y_label, title=panel.title)
    values = [value for each in panel.series for value in each.y if value is not None]
    if panel.limits:
        axes.set_ylim(*panel.limits)
    elif min(values, default=0) >= 0:
        axes.set_ylim(0, 1.08 * max(values, default=0) or 1)
    if values and all(value == int(value) for value in values) and not panel.limits:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if len(panel.series) + len(panel.marks) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)


def _draw_series(axes: Axes, panel: Panel, number: int, series: Series) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]
    x: list[Any] = list(series.x)
    y = [math.nan if value is None else value for value in series.y]
    match series.kind:
        case "bars":
            bars = [each for each in panel.series if each.kind == "bars"]
            width = 0.8 / len(bars)
            middle = (bars.index(series) - (len(bars) - 1) / 2) * width
            places = [place + middle for place in range(len(y))]
            axes.bar(places, y, width, color=colour, label=series.name)
            axes.set_xticks(range(len(y)), [str(each) for each in x])
        case "scatter":
            axes.scatter(x, y, color=colour, marker=marker, label=series.name)
        case "line":
            style = _DASHES[number % len(_DASHES)]
            axes.plot(
                x, y, style, color=colour, marker=marker, markersize=4,
                linewidth=1.6, label=series.name,
            )  # fmt: skip
