"""The pure parts of the PostgreSQL store: days, retention, migrations, names."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import ClassVar

import pyarrow as pa
import pytest

from nilo_consumers import StoreRefusedError
from nilo_consumers.postgres_days import Partition, days_of, first_hot, hot_days
from nilo_consumers.postgres_migrations import Migration, migrations, pending, sql_files
from nilo_consumers.postgres_retention import expired
from nilo_consumers.tables import create_table
from nilo_schemas.errors import SettingsError
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings, load_settings

FIRST, SECOND = Migration("0001_a", "SELECT 1"), Migration("0002_b", "SELECT 2")
TODAY = date(2026, 3, 1)


def test_what_is_recorded_is_not_applied_again() -> None:
    assert pending("s", {}, [FIRST, SECOND]) == [FIRST, SECOND]
    assert pending("s", {1: FIRST.checksum}, [FIRST, SECOND]) == [SECOND]
    assert pending("s", {2: SECOND.checksum}, [FIRST, SECOND]) == [FIRST]


def test_a_schema_that_is_ahead_or_has_another_file_is_refused() -> None:
    with pytest.raises(StoreRefusedError, match=r"schema s .*\(migration 2, this one knows 1\)"):
        pending("s", {1: FIRST.checksum, 2: "x"}, [FIRST])
    with pytest.raises(StoreRefusedError, match="0001_a is not the file"):
        pending("s", {1: SECOND.checksum}, [FIRST, SECOND])


def test_migrations_have_the_numbers_from_one_on() -> None:
    assert [each.number for each in migrations()] == [*range(1, len(migrations()) + 1)]


def test_each_view_is_made_by_the_file_of_its_name_with_a_unique_index() -> None:
    """`refresh_view` needs the index, `make_view` the name."""
    for name, text in sql_files("views").items():
        assert f"CREATE MATERIALIZED VIEW {name} AS" in text
        assert f"CREATE UNIQUE INDEX ON {name} (" in text


def test_a_day_is_hot_for_as_many_full_days_as_are_kept() -> None:
    assert first_hot(TODAY, 1) == date(2026, 2, 28)
    assert first_hot(TODAY, 30) == date(2026, 1, 30)


def test_days_before_the_hot_ones_and_default_are_expired() -> None:
    days = [date(2026, 2, 26), date(2026, 2, 27), date(2026, 2, 28), TODAY, date(9999, 1, 1)]
    found = [Partition("events.llm", "p", day) for day in (*days, None)]
    assert [each.day for each in expired(found, first_hot(TODAY, 2))] == [days[0], None]


def test_the_days_of_times_are_those_of_utc() -> None:
    times = [
        datetime(2026, 1, 1, 23, 59, 59, 999_999, UTC),
        datetime(2026, 1, 2, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    ]
    column = pa.chunked_array([pa.array(times, pa.timestamp("us", "UTC"))] * 2)

    assert days_of(column) == {at.date() for at in times}
    assert days_of(column.slice(0, 0)) == set()


def test_topics_have_the_hot_days_of_all_or_their_own() -> None:
    settings = Settings(hot_days=5, hot_days_by_topic="events.llm=7,metrics.windows=400")
    days = hot_days(settings)
    assert (days["events.llm"], days["metrics.windows"], days["events.chat"]) == (7, 400, 5)


def test_hot_days_of_a_topic_that_there_is_not_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"no topic 'events.lm'; known: events.llm"):
        hot_days(Settings(hot_days_by_topic="events.lm=7"))


@pytest.mark.parametrize("text", ["events.llm", "events.llm=0", "events.llm=7;x=1", "=7"])
def test_hot_days_that_are_no_list_of_topics_and_days_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="hot_days_by_topic"):
        load_settings({"hot_days_by_topic": text}, env={})


def test_a_topic_whose_partitions_postgresql_could_not_name_is_refused() -> None:
    class Fits(LlmEvent):
        kafka_topic: ClassVar[str] = "events." + "x" * 47

    class TooLong(LlmEvent):
        kafka_topic: ClassVar[str] = "events." + "x" * 48

    assert list(create_table("s", Fits))
    with pytest.raises(StoreRefusedError, match="shorter topic"):
        list(create_table("s", TooLong))
