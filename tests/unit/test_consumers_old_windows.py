"""Windows past their days leave the lake where longer ones stay, and nothing else does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from nilo_consumers import windows_parquet
from nilo_consumers.delta import DeltaSink
from nilo_consumers.lake import existing_table
from nilo_consumers.tiers.run import run
from nilo_consumers.tiers.show import tiers
from nilo_consumers.tiers.told import Step
from nilo_consumers.tiers.windows.keep import Keep, keep_of
from nilo_consumers.tiers.windows.record import Record
from nilo_schemas.errors import SettingsError
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings, load_settings
from nilo_schemas.windows import parse_keep
from tests.old_windows import (
    DAYS,
    WINDOWS,
    a_day,
    random_windows,
    staying,
    window,
    windows_batch,
)

TODAY = date(2026, 6, 30)
USUAL = ("1m", "5m", "1h", "1d")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Only the lake; windows as long as is the default."""
    return Settings(home=tmp_path, lake=str(tmp_path / "lake"))


def write(settings: Settings, windows: Sequence[MetricWindow], start: int = 0) -> None:
    """As the sink of the lake writes batches."""
    sink = DeltaSink(settings)
    sink.connect([(settings.topic_prefix + WINDOWS, number) for number in range(2)])
    half = len(windows) // 4 * 2
    sink.write(windows_batch(settings, windows[:half], start))
    sink.write(windows_batch(settings, windows[half:], start + half // 2))
    sink.close()


def aged(settings: Settings, today: date = TODAY, *, dry_run: bool = False) -> list[Step]:
    return list(run(settings, [WINDOWS], today, dry_run=dry_run))


def told(steps: Sequence[Step]) -> list[tuple[int, str | None, int, str | None]]:
    """Age in days, length, rows, refusal."""
    return [
        ((TODAY - step.event_date).days, step.window, step.rows, step.refused)
        for step in steps
        if step.event_date
    ]


def there(settings: Settings) -> list[Any]:
    """The windows in the lake, by what tells them from others."""
    table = existing_table(settings, WINDOWS)
    assert table is not None
    names = ["metric", "window", "window_start", "dimensions", "revision"]
    rows = table.to_pyarrow_dataset().to_table(columns=names).to_pylist()
    return sorted(
        (*list(row.values())[:3], str(row["dimensions"]), row["revision"]) for row in rows
    )


def keys(windows: Sequence[MetricWindow]) -> list[Any]:
    return sorted(
        (w.metric, w.window, w.window_start, str(list(w.dimensions.items())), w.revision)
        for w in windows
    )


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


@pytest.mark.parametrize("seed", range(2))
def test_what_stays_is_what_a_look_at_every_window_leaves(settings: Settings, seed: int) -> None:
    windows = random_windows(seed, TODAY)
    write(settings, windows)
    planned = aged(settings, dry_run=True)
    assert there(settings) == keys(windows)
    done = aged(settings)

    wanted = staying(windows, TODAY)
    assert there(settings) == keys(wanted)
    assert done == planned
    assert sum(step.rows for step in done) == len(windows) - len(wanted) > 0
    assert {step.refused for step in done} == {None}
    assert aged(settings) == []


@pytest.mark.parametrize(("text", "days"), DAYS.items())
def test_a_length_is_kept_as_the_next_longer_one_that_is_named(text: str, days: int) -> None:
    keep = keep_of(Settings())
    assert keep.days(text) == days
    assert not keep.is_due(text, ago(days), TODAY)
    assert keep.is_due(text, ago(days + 1), TODAY)
    assert (keep.least, keep.most) == (7, 365)


def test_the_days_can_be_set() -> None:
    keep = Keep(parse_keep("1h=2, 60s=1"))
    assert [keep.days(text) for text in ("10s", "1m", "2m", "1h", "1d", "session 1m")] == [
        1, 1, 2, 2, 2, 2,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("1m=30,1h=7", "1h=7 is fewer days than 1m=30"),
        ("1m=3,60s=4", "1m and 60s are one length"),
        ("1m=0", "'1m=0': write a length and 1 to 36500 days"),
        ("1m=36501", "36500 days"),
        ("1m", "'1m': write a length"),
        ("1m=7,", "window ''"),
        ("5m/1m=7", "window '5m/1m' is not a whole number"),
        ("session 5m=7", "window 'session 5m' is not a whole number"),
    ],
)
def test_days_that_make_no_sense_are_refused_at_load(text: str, word: str) -> None:
    with pytest.raises(SettingsError, match="windows_keep") as refused:
        load_settings(env={"NILO_WINDOWS_KEEP": text})
    assert word in str(refused.value)


def test_a_window_belongs_to_the_day_in_which_it_begins(settings: Settings) -> None:
    midnight = datetime(*ago(30).timetuple()[:3], tzinfo=UTC)
    across, behind = (window("5m/1m", midnight + timedelta(minutes=m)) for m in (-2, 2))
    write(settings, [across, behind, *a_day(ago(31), ["1d"]), *a_day(ago(30), ["1d"])])

    assert told(aged(settings)) == [(31, "5m/1m", 1, None)]


def test_the_longest_windows_of_a_metric_stay_to_the_end(settings: Settings) -> None:
    write(settings, [*a_day(ago(365), ["10s", "1m"]), *a_day(ago(366), ["1m"])])
    assert told(aged(settings)) == [(366, "1m", 4, None), (365, "10s", 4, None)]
    assert told(aged(settings, TODAY + timedelta(days=1))) == [(365, "1m", 4, None)]


def test_windows_stay_while_one_of_them_begins_in_no_longer_one(settings: Settings) -> None:
    """Of this metric and day; the longer one comes late, and the next run takes them."""
    hours, minutes = a_day(ago(8), ["1h"]), a_day(ago(8), ["1m"])
    others = a_day(ago(8), ["1m", "1h"], metric="other")
    write(settings, [*hours[:-1], *minutes, *others])
    assert told(aged(settings)) == [(8, "1m", 4, None)]
    assert windows_parquet(settings, "m", window="1m") == minutes
    write(settings, hours[-1:], start=50)

    assert told(aged(settings)) == [(8, "1m", 4, None)]
    assert windows_parquet(settings, "m") == hours


def test_all_revisions_go_and_late_ones_with_the_next_run(settings: Settings) -> None:
    day = a_day(ago(8), ["1m", "1d"])
    again = [each.model_copy(update={"revision": 1}) for each in day]
    write(settings, [*day, *again])
    assert told(aged(settings)) == [(8, "1m", 8, None)]
    late = [each.model_copy(update={"revision": 2}) for each in day]
    write(settings, late, start=50)

    assert told(aged(settings)) == [(8, "1m", 4, None)]
    assert there(settings) == keys([each for each in (*day, *again, *late) if each.window == "1d"])


def test_a_commit_that_loses_the_race_with_a_sink_is_tried_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of the same day come while they are taken away; they stay for the next run."""
    day = a_day(ago(8), ["1m", "1d"])
    write(settings, day)
    update = DeltaTable.update_incremental
    came: list[bool] = []

    def update_and_be_late(table: DeltaTable) -> None:
        update(table)
        if not came:
            came.append(True)
            write(settings, [each.model_copy(update={"revision": 1}) for each in day], start=50)

    with monkeypatch.context() as patched:
        patched.setattr(DeltaTable, "update_incremental", update_and_be_late)
        assert told(aged(settings)) == [(8, "1m", 4, None)]
    assert Counter(key[1:2] + key[4:] for key in there(settings)) == {
        ("1m", 1): 4, ("1d", 0): 1, ("1d", 1): 1,
    }  # fmt: skip
    assert told(aged(settings)) == [(8, "1m", 4, None)]


def test_the_record_names_what_went_and_nothing_else(settings: Settings) -> None:
    write(settings, [*a_day(ago(8), USUAL), *a_day(ago(8), ["1m"], metric="alone")])
    aged(settings)
    gone = Record(settings).removed(DeltaSink.name)

    noon = datetime(*ago(8).timetuple()[:3], 12, tzinfo=UTC)
    row = {"metric": "m", "window": "1m", "window_start": noon}
    place = {"kafka_partition": 0, "kafka_offset": 1}
    assert gone.has(row | place)
    for other in (
        {"metric": "alone"},
        {"window": "5m"},
        {"window_start": noon + timedelta(days=1)},
        {"kafka_offset": 2},
        {"kafka_partition": 7},
    ):
        assert not gone.has(row | place | other)
    assert not Record(settings).removed("postgres").has(row | place)


def test_the_lengths_are_shown_with_what_goes_next(settings: Settings) -> None:
    write(settings, [
        *a_day(ago(2), USUAL), *a_day(ago(1), USUAL), *a_day(ago(20), ["1m"], metric="alone"),
        window("session 5m", datetime(2026, 6, 1, tzinfo=UTC)),
    ])  # fmt: skip
    shown = {each.window: each for each in tiers(settings, [WINDOWS], TODAY)}

    assert {name: (each.tier, each.days, each.rows) for name, each in shown.items()} == {
        "1m": ("warm", 3, 12), "5m": ("warm", 2, 8), "1h": ("warm", 2, 8), "1d": ("warm", 2, 2),
        "session 5m": ("warm", 1, 1),
    }  # fmt: skip
    assert (shown["1m"].first_day, shown["1m"].last_day) == (ago(20), ago(1))
    assert {name: each.expires_on for name, each in shown.items()} == {
        "1m": ago(2) + timedelta(days=8),
        "5m": ago(2) + timedelta(days=31),
        "1h": ago(2) + timedelta(days=91),
        "1d": ago(2) + timedelta(days=366),
        "session 5m": date(2026, 6, 1) + timedelta(days=366),
    }
