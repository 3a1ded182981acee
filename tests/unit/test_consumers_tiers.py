"""The lake's days move to the archive and leave it: nothing lost, nothing twice. No servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest

from nilo_consumers import StoreUnavailableError, count_parquet
from nilo_consumers.tiers.manifest import Entry, Manifest
from nilo_consumers.tiers.policy import policies
from nilo_consumers.tiers.run import run
from nilo_schemas.errors import SettingsError
from nilo_schemas.settings import Settings
from tests.killing import killed_until_done
from tests.tiering import (
    ALL,
    LLM,
    OLD,
    OLDER,
    TODAY,
    filled,
    in_archive,
    in_lake,
    lines,
    moved,
    rows_of,
    tiered,
    write,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return tiered(tmp_path)


def test_old_days_move_to_the_archive_and_new_ones_stay(settings: Settings) -> None:
    filled(settings)
    planned = moved(settings, dry_run=True)
    assert count_parquet(settings, LLM) == len(ALL)
    assert not settings.archive_location.exists()
    done = moved(settings)

    assert done == planned
    assert [(step.event_date, step.rows, step.refused) for step in done] == [
        (OLDER, 20, None),
        (OLD, 80, None),
    ]
    assert sorted(in_lake(settings)) == [
        (partition, offset) for partition, offset in ALL if 20 <= offset < 40
    ]
    assert sorted(in_lake(settings) + in_archive(settings)) == ALL
    assert moved(settings) == []


def test_late_rows_of_a_day_in_the_archive_get_a_further_file(settings: Settings) -> None:
    filled(settings)
    moved(settings)
    before = {each.path: each.sha256 for each in lines(settings, "cold")}
    write(settings, rows_of(3, OLD, 1, 70))
    moved(settings)

    after = {each.path: each.sha256 for each in lines(settings, "cold")}
    assert after.keys() - before.keys() == {f"events_llm/event_date={OLD}/part-0002.avro"}
    assert before.items() <= after.items()
    late = [(1, 70), (1, 71), (1, 72)]
    assert sorted(in_lake(settings) + in_archive(settings)) == sorted([*ALL, *late])


def test_rows_that_come_while_a_day_is_moved_stay(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come between the file and the lake's commit; the next run takes them."""
    filled(settings)
    add = Manifest.add

    def add_and_be_late(self: Manifest, entries: Sequence[Entry]) -> None:
        add(self, entries)
        if any(each.event_date == OLD for each in entries):
            write(settings, rows_of(3, OLD, 1, 70))

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "add", add_and_be_late)
        refused = [step.event_date for step in moved(settings) if step.refused]
    assert refused == [OLD]
    moved(settings)

    late = [(1, 70), (1, 71), (1, 72)]
    assert sorted(in_lake(settings) + in_archive(settings)) == sorted([*ALL, *late])


_RUN = """
import sys
from datetime import date
from pathlib import Path
from nilo_consumers.tiers.run import run
from nilo_schemas.settings import Settings
home = Path(sys.argv[1])
print("go", flush=True)
settings = Settings(home=home, lake=str(home / "lake"), warm_days=10, cold_days=100, hot_days=5)
for step in run(settings, ["events.llm"], date.fromisoformat(sys.argv[2]), dry_run=False):
    print(step, flush=True)
"""


def test_runs_that_are_killed_lose_nothing_and_double_nothing(settings: Settings) -> None:
    start = TODAY - timedelta(days=60)
    sent: list[tuple[int, int]] = []
    for number in range(12):
        rows = rows_of(400, start + timedelta(days=number), 0, 400 * number)
        write(settings, rows)
        sent += [(row["kafka_partition"], row["kafka_offset"]) for row in rows]
    words = ["-c", _RUN, str(settings.home), str(TODAY)]
    for told_by in killed_until_done(words, least=0.1, ready=True):
        found = set(in_lake(settings)) | set(in_archive(settings))
        assert found == set(sent), told_by
        assert len(in_archive(settings)) == len(set(in_archive(settings))), told_by

    assert in_lake(settings) == []
    assert sorted(in_archive(settings)) == sent
    counting = {settings.archive_location / each.path for each in lines(settings, "cold")}
    assert set(settings.archive_location.rglob("*.avro")) == counting
    assert len(counting) == 12


def test_a_second_run_at_the_same_time_is_refused(settings: Settings) -> None:
    filled(settings)
    first = run(settings, [LLM], TODAY, dry_run=False)
    next(first)

    with pytest.raises(StoreUnavailableError, match="another `nilo tiers run`"):
        moved(settings)
    assert [step.event_date for step in first] == [OLD]


def test_fewer_cold_days_than_warm_ones_are_refused() -> None:
    with pytest.raises(SettingsError, match="cold_days"):
        policies(Settings(cold_days_by_topic=f"{LLM}=179"))
    with pytest.raises(SettingsError, match=r"no topic 'events\.lm'"):
        policies(Settings(warm_days_by_topic="events.lm=7"))


def test_days_are_counted_from_today_in_each_tier() -> None:
    policy = policies(Settings(warm_days_by_topic=f"{LLM}=7"))[LLM]

    assert (policy.hot, policy.warm, policy.cold) == (30, 7, 730)
    assert policy.first("warm", TODAY) == date(2026, 6, 23)
    assert policy.expires_on("warm", date(2026, 6, 23)) == date(2026, 7, 1)
    assert policy.first("warm", date(2026, 7, 1)) > date(2026, 6, 23)


_READ = """
import sys
from pathlib import Path
from nilo_consumers.lake import dataset, existing_table
from nilo_schemas.settings import Settings
assert dataset(existing_table(Settings(home=Path(sys.argv[1])), "events.llm")).to_table().num_rows
"""


def test_a_program_that_ends_right_after_reading_the_lake_ends_well(settings: Settings) -> None:
    """And not by an abort of Arrow's threads, which deltalake's own files cause mostly."""
    filled(settings)

    for _ in range(4):
        subprocess.run([sys.executable, "-c", _READ, str(settings.home)], check=True)
