"""Charts: the same bytes each time, fit for a page, and what is said without matplotlib."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nilo_cli import charts
from nilo_cli.charts import Chart, Panel, Series
from nilo_cli.errors import NoChartsError, UsageError

CHART = Chart(
    "p95 <of> atlas & pico",
    [
        Panel(
            [Series("old", [1, 2, 3], [1, None, 3]), Series("new", [1, 2, 3], [2, 2, 4])],
            "time (min)",
            "p95 (s)",
            marks=[(2.0, "deploy")],
        ),
        Panel(
            [
                Series("adds", ["a", "b"], [3, 1], "bars"),
                Series("removes", ["a", "b"], [1, 0], "bars"),
            ],
            "metric",
            "cells",
        ),
        Panel([Series("cells", [0.1, 0.2], [-1.0, 1.0], "scatter")], "old (s)", "new (s)"),
    ],
)


def test_the_same_chart_is_the_same_bytes(tmp_path: Path) -> None:
    for form, begins in (("svg", b"<?xml"), ("PNG", b"\x89PNG")):
        first, second = tmp_path / f"a.{form}", tmp_path / f"b.{form}"
        CHART.write(first)
        CHART.write(second)
        assert first.read_bytes() == second.read_bytes()
        assert first.read_bytes().startswith(begins)


def test_an_svg_goes_into_a_page_as_it_is() -> None:
    text = CHART.svg()
    root = ElementTree.fromstring(text)
    names = {each.tag.split("}")[-1] for each in root.iter()}
    assert root.tag.endswith("svg")
    assert names & {"script", "image", "foreignObject"} == set()
    assert "dc:date" not in text


@pytest.mark.parametrize("name", ["x.pdf", "x"])
def test_other_forms_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"written as \.png or \.svg"):
        CHART.write(tmp_path / name)


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        CHART.write(tmp_path / "none" / "x.svg")


def test_without_matplotlib_the_way_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(NoChartsError, match=r"pip install 'nilometer\[charts\]'"):
        importlib.reload(charts)
