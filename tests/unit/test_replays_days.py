"""Replays out of the lake and the archive end where the other one begins."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from nilo_cli.errors import UsageError
from nilo_cli.replays.days import within_days
from nilo_cli.replays.ranges import Asked
from nilo_schemas.settings import Settings
from nilo_stream_processors.replay.manifest import StoreName
from tests.tiering import LLM, NEW, OLD, OLDER, filled, moved, rows_of, tiered, write

BORDER = datetime.combine(OLD + timedelta(days=1), time.min, UTC)
LATER = BORDER + timedelta(hours=1)


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two days in the archive, one in the lake."""
    settings = tiered(tmp_path_factory.mktemp("parted"))
    filled(settings)
    moved(settings)
    return settings


@pytest.mark.parametrize("since", [None, BORDER, LATER])
def test_the_lake_begins_behind_the_archive(parted: Settings, since: datetime | None) -> None:
    assert within_days(parted, Asked("parquet", [LLM], since=since)).since == (since or BORDER)


@pytest.mark.parametrize("until", [None, BORDER, datetime(2026, 4, 1, 13, tzinfo=UTC)])
def test_the_archive_ends_where_the_lake_begins(parted: Settings, until: datetime | None) -> None:
    assert within_days(parted, Asked("archive", [LLM], until=until)).until == (until or BORDER)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (Asked("parquet", [LLM], since=BORDER - timedelta(seconds=1)), "`--source archive`"),
        (Asked("archive", [LLM], until=LATER), "`--source parquet`"),
    ],
)
def test_days_of_the_other_store_are_not_taken_for_empty(
    parted: Settings, asked: Asked, told: str
) -> None:
    with pytest.raises(UsageError, match=told) as failed:
        within_days(parted, asked)
    assert f"{BORDER:%Y-%m-%d}" in str(failed.value)


@pytest.mark.parametrize("store", ["kafka", "parquet", "archive"])
def test_what_was_never_moved_has_no_border(store: StoreName, tmp_path: Path) -> None:
    settings = tiered(tmp_path)
    write(settings, rows_of(5, NEW, 0, 0))

    assert within_days(settings, Asked(store, [LLM])) == Asked(store, [LLM])


def test_an_archive_of_everything_has_no_end(tmp_path: Path) -> None:
    settings = tiered(tmp_path)
    write(settings, rows_of(5, OLDER, 0, 0))
    moved(settings)

    assert within_days(settings, Asked("archive", [LLM])) == Asked("archive", [LLM])


def test_kafka_has_all_days(parted: Settings) -> None:
    assert within_days(parted, Asked("kafka", [LLM])) == Asked("kafka", [LLM])
