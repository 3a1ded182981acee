"""What a replay reads of the lake and the archive: the rows that are asked for, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from nilo_consumers.history.archive import stretch_of_archive
from nilo_consumers.history.lake import stretch_of_lake
from nilo_consumers.history.runs import Wanted
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.tiering import OLD, OLDER, PARTITIONS, moved, rows_of, tiered, write

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
READ = {"lake": stretch_of_lake, "archive": stretch_of_archive}
ROWS = 400  # so many events of a partition and a day are several blocks of the archive


@pytest.fixture(scope="module", params=READ)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Events of two days and two partitions, every tenth of them of the earlier day."""
    settings = tiered(tmp_path_factory.mktemp(request.param))
    for start in range(0, ROWS, 100):
        batch = [
            row
            for partition in range(PARTITIONS)
            for ten in range(start, start + 100, 10)
            for row in rows_of(9, OLD, partition, ten) + rows_of(1, OLDER, partition, ten + 9)
        ]
        write(settings, batch[::-1])
    if request.param == "archive":
        moved(settings)
    return Stored(request.param, settings)


class Stored:
    def __init__(self, name: str, settings: Settings) -> None:
        self._read, self._settings = READ[name], settings

    def read(self, wanted: Wanted) -> Iterator[pa.Table]:
        return self._read(self._settings, LlmEvent, wanted)

    def offsets(
        self, partition: int, first: int, stop: int, since: datetime = LONG_AGO
    ) -> list[int]:
        tables = list(self.read(Wanted(partition, first, stop, since, {"id"})))
        ids = [
            f"{partition}-{offset}"
            for each in tables
            for offset in each["kafka_offset"].to_pylist()
        ]
        assert [one for each in tables for one in each["id"].to_pylist()] == ids
        return [offset for each in tables for offset in each["kafka_offset"].to_pylist()]


@pytest.mark.parametrize("partition", range(PARTITIONS))
@pytest.mark.parametrize("stretch", [(0, ROWS), (0, 1), (137, 301), (ROWS - 1, ROWS), (7, 7)])
def test_a_stretch_is_what_lies_between_its_offsets_in_their_order(
    store: Stored, partition: int, stretch: tuple[int, int]
) -> None:
    assert store.offsets(partition, *stretch) == list(range(*stretch))


def test_days_before_the_first_are_not_read(store: Stored) -> None:
    since = datetime(OLD.year, OLD.month, OLD.day, tzinfo=UTC)

    found = store.offsets(0, 0, ROWS, since)

    assert found == [offset for offset in range(ROWS) if offset % 10 != 9]


def test_of_a_partition_without_events_nothing_is_read(store: Stored) -> None:
    assert store.offsets(PARTITIONS, 0, ROWS) == []


def test_only_the_fields_that_are_asked_for_are_read(store: Stored) -> None:
    first = next(store.read(Wanted(1, 0, ROWS, LONG_AGO, {"duration", "time"})))

    assert first.column_names == [
        "time", "duration", "kafka_partition", "kafka_offset", "kafka_timestamp",
    ]  # fmt: skip
    assert first["duration"].to_pylist() == first["kafka_offset"].to_pylist()
