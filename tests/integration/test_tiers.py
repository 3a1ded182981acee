"""`nilo tiers run`: days go from PostgreSQL to the lake to the archive, and the ledger is clean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from nilo_consumers import count_parquet, count_postgres
from nilo_consumers.lake import existing_table
from nilo_consumers.postgres_retention import Expired
from nilo_consumers.tiers.manifest import Entry, Manifest
from nilo_consumers.tiers.run import run
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.integration.programs import nilo
from tests.integration.sinking import LLM, send, sinking, wait_count
from tests.integration.storing import noon
from tests.killing import killed_until_done

pytestmark = [pytest.mark.integration, pytest.mark.topics("events.llm")]
DAYS = (0, -2, -6, -20, -300)


@pytest.fixture
def landed(settings: Settings, tmp_path: Path) -> Settings:
    """Eight events of each of five days in both stores; three hot days, ten warm, 100 cold."""
    send(settings, [event(noon(day)) for day in DAYS for _ in range(8)])
    for store in ("postgres", "parquet"):
        with sinking(store, settings, topics=[LLM]):
            wait_count(store, settings, 40)
    days = {"hot_days": 3, "warm_days": 10, "cold_days": 100}
    return settings.model_copy(update=days | {"archive": tmp_path / "archive"})


def event(time: datetime) -> LlmEvent:
    return LlmEvent(type="llm.call", source="test", time=time)


def tiers(settings: Settings, *words: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, rows and errors of a command."""
    done = nilo(settings, "tiers", *words, "--topic", LLM, "--json")
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def audited(settings: Settings, *words: str) -> tuple[int, dict[str, Any]]:
    stores = ("--store", "postgres", "--store", "parquet")
    done = nilo(settings, "audit", "reconcile", "--topic", LLM, *stores, "--json", *words)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def told(steps: list[dict[str, Any]]) -> list[tuple[str, str | None, int, bool]]:
    return [
        (step["step"], step["event_date"], step["rows"], step["refused"] is not None)
        for step in steps
    ]


def absent(certificate: dict[str, Any], store: str) -> int:
    """The offsets of a store that it holds no more because their days were over."""
    lines = [line for line in certificate["entries"] if line["store"] == store]
    return sum(line["absent"].get("expired", 0) for line in lines)


def cold_files(settings: Settings) -> dict[str, Path]:
    """The files of the archive that count, by day."""
    return {
        str(each.event_date): settings.archive_location / each.path
        for each in Manifest(settings).entries(LLM)
        if each.tier == "cold" and not each.removed_at
    }


def test_days_move_from_tier_to_tier_and_the_ledger_stays_clean(landed: Settings) -> None:
    day = {number: str(noon(number).date()) for number in DAYS}
    code, planned, _ = tiers(landed, "run", "--dry-run")
    assert code == 0
    assert (count_postgres(landed, LLM), count_parquet(landed, LLM)) == (40, 40)
    asked = tiers(landed, "run")
    assert asked[0] == 2
    assert "--yes" in asked[2]
    code, done, errors = tiers(landed, "run", "--yes")

    assert (code, errors) == (0, "")
    assert told(done) == [
        ("drop from hot", day[-20], 8, False),
        ("drop from hot", day[-6], 8, False),
        ("drop from hot", None, 8, False),
        ("lake to archive", day[-300], 8, False),
        ("lake to archive", day[-20], 8, False),
        ("delete from archive", day[-300], 8, False),
    ]
    assert planned == done[:-1]
    assert (count_postgres(landed, LLM), count_parquet(landed, LLM)) == (16, 24)
    assert tiers(landed, "run", "--yes")[1] == []
    code, certificate = audited(landed, "--checksums")
    assert (code, certificate["clean"]) == (0, True)
    assert (absent(certificate, "postgres"), absent(certificate, "parquet")) == (24, 8)
    shown = {row["tier"]: row for row in tiers(landed, "show")[1]}
    assert {tier: (row["days"], row["rows"]) for tier, row in shown.items()} == {
        "hot": (2, 16),
        "warm": (3, 24),
        "cold": (1, 8),
    }
    assert shown["cold"]["first_day"] == day[-20]
    assert all(row["bytes"] > 0 for row in shown.values())


def test_a_changed_and_a_missing_file_of_the_archive_are_found(landed: Settings) -> None:
    tiers(landed, "run", "--yes")
    (path,) = cold_files(landed).values()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert audited(landed)[0] == 0
    code, certificate = audited(landed, "--checksums")
    assert (code, certificate["changed_files"]) == (1, [str(path)])

    path.unlink()
    code, certificate = audited(landed)
    assert (code, certificate["lost_files"]) == (1, [str(path)])
    missing = [
        last - first + 1
        for line in certificate["entries"]
        if line["store"] == "parquet"
        for first, last in line["missing"]
    ]
    assert sum(missing) == 8


def test_rows_that_the_lake_lacks_stay_in_postgres(landed: Settings) -> None:
    """One row is gone from the lake: its day stays hot, is told, and the others go."""
    table = existing_table(landed, LLM)
    assert table is not None
    rows = table.to_pyarrow_dataset().to_table(
        columns=["event_date", "kafka_partition", "kafka_offset"]
    )
    lost = next(row for row in rows.to_pylist() if row["event_date"] == noon(-6).date())
    table.delete(
        f"kafka_partition = {lost['kafka_partition']} AND kafka_offset = {lost['kafka_offset']}"
    )
    code, steps, errors = tiers(landed, "run", "--yes")

    assert code == 1
    assert [each[1] for each in told(steps) if each[3]] == [str(noon(-6).date())]
    assert f"{LLM}/{lost['kafka_partition']} offset {lost['kafka_offset']}" in errors
    assert count_postgres(landed, LLM) == 24


def test_a_run_that_ends_before_the_rows_are_dropped_is_finished_by_the_next(
    landed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest has them as gone already: the ledger is clean then, between, and at the end."""
    today = noon().date()

    def killed(*_: object) -> Iterator[Expired]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("nilo_consumers.tiers.hot.drop_expired", killed)
        with pytest.raises(KeyboardInterrupt):
            list(run(landed, [LLM], today, dry_run=False))
    noted = hot_lines(landed)
    assert [each.event_date for each in noted] == [noon(-20).date()]
    between = audited(landed)
    list(run(landed, [LLM], today, dry_run=False))

    assert between[0] == 0
    assert absent(between[1], "postgres") == 0
    assert count_postgres(landed, LLM) == 16
    assert noted[0] in hot_lines(landed)
    assert sum(each.rows for each in hot_lines(landed)) == 24
    code, certificate = audited(landed)
    assert (code, absent(certificate, "postgres")) == (0, 24)


def test_a_run_that_is_killed_at_random_moments_leaves_a_clean_ledger(landed: Settings) -> None:
    words = ["-m", "nilo_cli", "tiers", "run", "--yes", "--topic", LLM]
    for told_by in killed_until_done(words, landed.environment(), least=1.0):
        assert audited(landed, "--checksums")[0] == 0, told_by

    assert (count_postgres(landed, LLM), count_parquet(landed, LLM)) == (16, 24)
    (path,) = cold_files(landed).values()
    assert list(landed.archive_location.rglob("*.avro")) == [path]
    code, certificate = audited(landed)
    assert (code, absent(certificate, "postgres"), absent(certificate, "parquet")) == (0, 24, 8)


def test_rows_that_come_after_their_day_was_dropped_go_with_the_next_run(
    landed: Settings,
) -> None:
    tiers(landed, "run", "--yes")
    send(landed, [event(noon(-6)) for _ in range(4)])
    for store, rows in (("postgres", 20), ("parquet", 28)):
        with sinking(store, landed, topics=[LLM]):
            wait_count(store, landed, rows)
    code, steps, _ = tiers(landed, "run", "--yes")

    assert (code, told(steps)) == (0, [("drop from hot", None, 4, False)])
    code, certificate = audited(landed)
    assert (code, absent(certificate, "postgres")) == (0, 28)


def hot_lines(settings: Settings) -> list[Entry]:
    return [each for each in Manifest(settings).entries(LLM) if each.tier == "hot"]


def test_a_topic_that_is_not_there_is_wrong_usage(settings: Settings) -> None:
    done = nilo(settings, "tiers", "run", "--dry-run", "--topic", "events.nothing")
    assert done.returncode == 2
    assert "events.nothing" in done.stderr
