"""How windows become a table and lines of bars, and how times are understood."""

from datetime import UTC, datetime, timedelta

import pytest

from nilo_cli.errors import UsageError
from nilo_cli.main import main
from nilo_cli.times import parse_time
from nilo_cli.windows import WIDTH, _by_series, _usual, bars, gapless, value_of
from nilo_schemas.results import MetricWindow, SourceRange

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


def window(minute: int = 0, model: str = "m", mean: float | None = None) -> MetricWindow:
    start = NOON + timedelta(minutes=minute)
    return MetricWindow(
        metric="llm.duration",
        unit="seconds",
        window="1m",
        window_start=start,
        window_end=start + timedelta(minutes=1),
        dimensions={"model": model, "provider": ""},
        count=6,
        errors=3,
        mean=mean,
        rate=0.1,
        error_ratio=0.5,
        quantiles={} if mean is None else {"p95": 2 * mean},
        final=True,
        revision=1,
        watermark=start,
        sources=[SourceRange(topic="t", partition=0, first_offset=0, last_offset=5)],
    )


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([-3, None, 4], "▁ █"),
        ([5, 5, None], "▁▁ "),
        ([None], " "),
        ([], ""),
    ],
)
def test_bars_reach_from_the_lowest_to_the_highest(values: list[float | None], line: str) -> None:
    assert bars(values) == line


def test_a_missing_window_is_a_gap() -> None:
    """Minutes 0, 1 and 4 are there; 2 and 3 are not."""
    series = [(window(minute), float(minute)) for minute in (0, 1, 4)]
    assert gapless(series) == [0.0, 1.0, None, None, 4.0]


def test_a_line_holds_the_newest_windows_only() -> None:
    series = [(window(minute), float(minute)) for minute in (0, 1000, 1001)]
    assert gapless(series) == [1000.0, 1001.0]
    many = [(window(minute), float(minute)) for minute in range(2 * WIDTH)]
    assert gapless(many) == [float(minute) for minute in range(WIDTH, 2 * WIDTH)]


def test_hopping_windows_stand_a_hop_apart() -> None:
    many = [window(minute).model_copy(update={"window": "5m/1m"}) for minute in (0, 1, 3)]
    assert gapless([(each, float(n)) for n, each in enumerate(many)]) == [0.0, 1.0, None, 2.0]


def test_sessions_have_no_gaps() -> None:
    many = [window(minute).model_copy(update={"window": "session 1m"}) for minute in (0, 7, 90)]
    assert gapless([(each, float(n)) for n, each in enumerate(many)]) == [0.0, 1.0, 2.0]


def test_series_are_kept_apart() -> None:
    found = _by_series([window(0, "b"), window(0, "a"), window(1, "b")])
    assert {name: len(series) for name, series in found.items()} == {"model=a": 1, "model=b": 2}


def test_values_of_aggregates() -> None:
    each = window(mean=0.5)
    assert (value_of(each, "mean"), value_of(each, "p95"), value_of(each, "p50")) == (
        0.5,
        1.0,
        None,
    )
    assert (value_of(each, "count"), value_of(each, "error_ratio")) == (6, 0.5)


def test_the_usual_aggregate_is_one_that_the_windows_have() -> None:
    assert _usual([window(), window(mean=1.0)]) == "p95"
    assert _usual([window()]) == "rate"


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("now", NOON),
        ("1h", NOON - timedelta(hours=1)),
        ("2d", NOON - timedelta(days=2)),
        ("2025-05-01", datetime(2025, 5, 1, tzinfo=UTC)),
        ("2025-05-01T10:00:00", datetime(2025, 5, 1, 10, tzinfo=UTC)),
        ("2025-05-01T12:00:00+02:00", datetime(2025, 5, 1, 10, tzinfo=UTC)),
    ],
)
def test_times(text: str, time: datetime) -> None:
    assert parse_time(text, NOON) == time


@pytest.mark.parametrize("text", ["", "yesterday", "1", "-1h", "1w", "99999999999d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse_time(text, NOON)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["windows", "llm.dur"], "no metric is called 'llm.dur'"),
        (["windows", "llm.duration", "--where", "modell=m"], "provider, model"),
        (["windows", "llm.duration", "--where", "model"], "--where 'model'"),
        (["windows", "llm.duration", "--window", "7m"], "has no window '7m'; known: 10s, 1m"),
        (["windows", "llm.duration", "--aggregate", "px"], "unknown aggregate 'px'"),
        (["windows", "llm.duration", "--since", "soon"], "'soon' is no time"),
        (["play", __file__, "--as", "llm.cal"], "unknown event type 'llm.cal'"),
        (["play", __file__, "--speed", "fast"], "speed 'fast'"),
        (["play", __file__, "--map", "model"], "'model' is not field=column"),
        (["play", "no/such/file"], "does not exist"),
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert told in capsys.readouterr().err
