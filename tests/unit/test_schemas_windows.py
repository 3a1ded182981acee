"""The texts of windows, and what a metric may say about its windows and distinct values."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nilo_schemas.catalogue import Metric
from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.errors import CatalogueError
from nilo_schemas.windows import parse_window

MINUTE = timedelta(minutes=1)
PLAIN = {
    "description": "d",
    "owner": "o",
    "event": "events.llm",
    "windows": ["1m"],
    "aggregates": ["count"],
}


def metric(**values: Any) -> Metric:
    return Metric.model_validate(PLAIN | values)


@pytest.mark.parametrize(
    ("text", "kind", "length", "hop"),
    [
        ("10s", "tumbling", timedelta(seconds=10), timedelta(seconds=10)),
        ("1m", "tumbling", MINUTE, MINUTE),
        ("2d", "tumbling", timedelta(days=2), timedelta(days=2)),
        ("5m/1m", "hopping", 5 * MINUTE, MINUTE),
        ("1h/20m", "hopping", 60 * MINUTE, 20 * MINUTE),
        ("session 5m", "session", 5 * MINUTE, 5 * MINUTE),
    ],
)
def test_a_text_means_a_window(text: str, kind: str, length: timedelta, hop: timedelta) -> None:
    assert parse_window(text) == (text, kind, length, hop)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "whole number"),
        ("1", "whole number"),
        ("0s", "whole number"),
        ("01m", "whole number"),
        ("1.5m", "whole number"),
        ("1m\n", "whole number"),
        ("٣m", "whole number"),
        ("1m/", "whole number"),
        ("session", "session 5m"),
        ("session 5m/1m", "whole number"),
        ("5m/5m", "shorter"),
        ("1m/5m", "shorter"),
        ("5m/2m", "divide"),
        ("99999999999d", "too long"),
    ],
)
def test_a_text_that_means_no_window_says_why(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_window(text)


def texts(metric: Metric) -> list[str]:
    assert list(metric.problems()) == []
    return [window.text for window in metric.resolutions()]


def test_a_metric_with_minutes_is_rolled_up() -> None:
    assert texts(metric(windows=["10s", "1m"])) == ["10s", "1m", "5m", "1h", "1d"]
    assert texts(metric(rollups=["15m"])) == ["1m", "15m"]
    assert texts(metric(windows=["60s"], rollups=["2m"])) == ["60s", "2m"]
    assert texts(metric(rollups=[])) == ["1m"]


def test_a_metric_without_minutes_is_not_rolled_up() -> None:
    windows = ["10s", "5m/1m", "session 1m"]
    assert texts(metric(windows=windows)) == windows


def test_a_rollup_that_is_a_window_already_is_not_doubled() -> None:
    assert texts(metric(windows=["1h", "1m"])) == ["1h", "1m", "5m", "1d"]
    assert texts(metric(windows=["1m"], rollups=["60m", "1m"])) == ["1m", "60m"]
    assert texts(metric(windows=["1m", "3600s"])) == ["1m", "3600s", "5m", "1d"]


def test_distinct_values_need_no_value() -> None:
    for field in ("session_id", "severity", "attributes.user", "status"):
        counted = metric(aggregates=["count", "distinct"], distinct=field)
        assert list(counted.problems()) == []


@pytest.mark.parametrize(
    ("values", "place", "word"),
    [
        ({"windows": ["1m", "5m/2m"]}, ("windows", 1), "divide"),
        ({"windows": ["1m", "60s"]}, ("windows", 1), "'1m' once more"),
        ({"windows": ["1m", "1m"]}, ("windows", 1), "once more"),
        ({"rollups": ["5m", "90s"]}, ("rollups", 1), "whole minutes"),
        ({"rollups": ["5m/1m"]}, ("rollups", 0), "whole minutes"),
        ({"rollups": ["session 5m"]}, ("rollups", 0), "whole minutes"),
        ({"rollups": ["5m", "300s"]}, ("rollups", 1), "once more"),
        ({"rollups": ["soon"]}, ("rollups", 0), "whole number"),
        ({"windows": ["10s"], "rollups": ["5m"]}, ("rollups",), "1m"),
        ({"aggregates": ["distinct"]}, ("aggregates",), "needs a field"),
        ({"distinct": "session_id"}, ("distinct",), "aggregates"),
        ({"aggregates": ["distinct"], "distinct": "colour"}, ("distinct",), "colour"),
        ({"aggregates": ["distinct"], "distinct": "duration"}, ("distinct",), "text"),
        ({"aggregates": ["distinct", "max"], "distinct": "id"}, ("aggregates",), "without a value"),
        ({"dimensions": ["duration"]}, ("dimensions", 0), "'duration' is not a text"),
    ],
)
def test_a_problem_has_its_place(
    values: dict[str, Any], place: tuple[str | int, ...], word: str
) -> None:
    found = list(metric(**values).problems())

    assert [where for where, _ in found] == [place]
    assert word in found[0][1]


def test_a_bad_window_is_refused_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "metrics:\n  own.calls:\n    description: d\n    owner: o\n    event: events.llm\n"
        "    aggregates: [count]\n    windows:\n      - 1m\n      - 5m/2m\n"
    )
    with pytest.raises(CatalogueError, match=r"own\.yaml:9: own\.calls\.windows\.1: .*divide"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize("cap", [0, -1, "5"])
def test_a_cap_of_series_is_a_number_above_zero(cap: object) -> None:
    with pytest.raises(ValueError, match="max_series"):
        metric(max_series=cap)
