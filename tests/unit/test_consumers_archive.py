"""The files of the archive: what they hold and in which order; and damaged ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nilo_cli.stored_events import stored_events
from nilo_consumers import StoreRefusedError, count_parquet
from nilo_consumers.batch import Span
from nilo_consumers.events import Selection
from nilo_consumers.tiers import archive
from nilo_consumers.tiers.read import archived_days, archived_rows
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.tiering import (
    LLM,
    NEW,
    OLD,
    OLDER,
    PARTITIONS,
    filled,
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


def test_the_files_give_back_what_was_sent_in_order_of_partition_and_offset(
    settings: Settings,
) -> None:
    filled(settings)
    moved(settings)
    (old,) = [each for each in lines(settings, "cold") if each.event_date == OLD]
    path = settings.archive_location / old.path
    rows = list(archive.read(path))

    wanted = [
        row | {"attributes": dict(row["attributes"])}
        for partition in range(PARTITIONS)
        for row in rows_of(20, OLD, partition, 0) + rows_of(20, OLD, partition, 50)
    ]
    assert rows == [archive.completed(LlmEvent, row) for row in wanted]
    assert old.path == f"events_llm/event_date={OLD}/part-0001.avro"
    assert (old.rows, old.size) == (80, path.stat().st_size)
    assert old.sha256 == archive.checksum(path)
    assert old.expires_on == OLD + timedelta(days=101)
    assert old.offsets == tuple(
        (partition, span) for partition in range(2) for span in (Span(0, 20), Span(50, 70))
    )


def test_a_day_of_several_files_is_read_in_one_order(settings: Settings) -> None:
    filled(settings)
    moved(settings)
    write(settings, rows_of(3, OLD, 0, 70))
    moved(settings)

    assert archived_days(settings, LLM) == [OLDER, OLD]
    places = [(r["kafka_partition"], r["kafka_offset"]) for r in archived_rows(settings, LLM, OLD)]
    assert places == sorted(places)
    assert len(places) == 83
    assert list(archived_rows(settings, LLM, NEW)) == []


def test_events_are_exported_from_the_archive(settings: Settings) -> None:
    """Those that are wanted, as they were sent."""
    filled(settings)
    moved(settings)
    noon = datetime(OLD.year, OLD.month, OLD.day, 12, tzinfo=UTC)
    wanted = Selection(
        types=["llm.call"],
        since=noon + timedelta(microseconds=3),
        until=noon + timedelta(microseconds=5),
    )
    found = [
        LlmEvent.from_avro(row) for row in stored_events("archive", settings, LlmEvent, wanted)
    ]

    assert sorted(event.id for event in found) == ["0-3", "0-4", "1-3", "1-4"]
    assert {event.attributes["number"] for event in found} == {"3", "4"}
    assert {event.duration for event in found} == {
        timedelta(microseconds=3), timedelta(microseconds=4),
    }  # fmt: skip
    nobody = Selection(sessions=["nobody"])
    assert list(stored_events("archive", settings, LlmEvent, nobody)) == []


def test_a_day_stays_in_the_lake_when_its_file_is_damaged_or_missing(settings: Settings) -> None:
    filled(settings)
    moved(settings)
    write(settings, rows_of(3, OLD, 1, 70))
    (old,) = [each for each in lines(settings, "cold") if each.event_date == OLD]
    path = settings.archive_location / old.path
    whole = path.read_bytes()
    for damaged, word in (
        (whole[:-1], "bytes"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "checksum"),
        (None, "miss"),
    ):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        (step,) = moved(settings)
        if damaged is None:
            path.write_bytes(whole)

        assert word in (step.refused or "")
        assert str(path) in (step.refused or "")
        assert {(1, 70), (1, 71), (1, 72)} <= set(in_lake(settings))


def test_a_file_of_nobody_is_not_written_over_when_it_holds_more(settings: Settings) -> None:
    """As when the lake was made anew: the archive may have the only copy."""
    filled(settings)
    moved(settings)
    other = settings.model_copy(update={"lake": str(settings.home / "other")})
    write(other, rows_of(3, OLD, 0, 0))
    before = {path: path.read_bytes() for path in settings.archive_location.rglob("*.avro")}
    (step,) = moved(other)

    assert "not in the manifest" in (step.refused or "")
    assert before == {p: p.read_bytes() for p in settings.archive_location.rglob("*.avro")}
    assert count_parquet(other, LLM) == 3


def test_a_damaged_file_is_a_clear_error(settings: Settings) -> None:
    filled(settings)
    moved(settings)
    (old,) = [each for each in lines(settings, "cold") if each.event_date == OLD]
    path = settings.archive_location / old.path
    content = bytearray(path.read_bytes())
    content[-40:-20] = bytes(20)
    path.write_bytes(content)

    with pytest.raises(StoreRefusedError, match=r"part-0001\.avro is no whole Avro file"):
        list(archived_rows(settings, LLM, OLD))
