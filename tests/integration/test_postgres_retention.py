"""Retention of PostgreSQL: the plan says what goes, and nothing else goes."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from nilo_consumers import StoreMovedError, StoreUnavailableError, count_postgres
from nilo_consumers.postgres_days import make_day
from nilo_consumers.postgres_retention import Expired, drop_expired, plan_retention
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.integration.sinking import LLM, query
from tests.integration.storing import (
    FAR_AHEAD,
    LONG_AGO,
    database,
    llm_batch,
    noon,
    rows_by_day,
    storing,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(own: Settings) -> Settings:
    """Most of these tests do without Kafka."""
    return own


@pytest.fixture
def filled(settings: Settings) -> Settings:
    """Two hot days are kept; there are older days with and without a partition of their own."""
    times = [noon(), noon(-2), noon(-3), noon(-3), noon(-40), LONG_AGO, FAR_AHEAD]
    with storing(settings, LLM, MetricWindow.kafka_topic) as sink, database(settings) as connection:
        sink.write(llm_batch(settings, times))
        make_day(connection, settings.database_schema, LLM, noon(-40).date())
    return settings.model_copy(update={"hot_days": 2})


def today() -> date:
    return datetime.now(UTC).date()


def told(plan: list[Expired]) -> list[tuple[str, date | None, int]]:
    return [(each.table, each.partition.day, each.rows) for each in plan]


def test_the_plan_names_old_days_and_old_rows_of_default_and_drops_just_them(
    filled: Settings,
) -> None:
    plan = plan_retention(filled, today())
    assert told(plan) == [
        ("events_llm", noon(-40).date(), 1),
        ("events_llm", noon(-3).date(), 2),
        ("events_llm", None, 1),
    ]
    assert all(each.size > 0 for each in plan)
    assert count_postgres(filled, LLM) == 7

    assert list(drop_expired(filled, plan)) == plan
    left = query(filled, 'SELECT "time" AS at FROM events_llm ORDER BY 1')
    assert [row["at"] for row in left] == [noon(-2), noon(), FAR_AHEAD]
    assert plan_retention(filled, today()) == []


def test_rows_that_come_after_their_day_was_dropped_are_kept_until_the_next_run(
    filled: Settings,
) -> None:
    list(drop_expired(filled, plan_retention(filled, today())))
    with storing(filled) as sink:
        sink.write(llm_batch(filled, [noon(-3)], start=7))

    assert rows_by_day(filled)[None] == 2
    assert told(plan_retention(filled, today())) == [("events_llm", None, 1)]


@pytest.mark.parametrize("late", [noon(-3), LONG_AGO], ids=["a day", "default"])
def test_rows_that_came_after_the_plan_are_not_dropped_with_it(
    filled: Settings, late: datetime
) -> None:
    plan = plan_retention(filled, today())
    with storing(filled) as sink:
        sink.write(llm_batch(filled, [late], start=7))
    with pytest.raises(StoreMovedError, match="plan again"):
        list(drop_expired(filled, plan))

    rows = query(filled, 'SELECT count(*) FROM events_llm WHERE "time" = %s', late)
    assert rows[0]["count"] > 1


def test_each_topic_has_its_own_retention(filled: Settings) -> None:
    longer = filled.model_copy(update={"hot_days_by_topic": f"{LLM}=10"})
    assert told(plan_retention(longer, today())) == [
        ("events_llm", noon(-40).date(), 1),
        ("events_llm", None, 1),
    ]


def test_a_table_that_is_in_use_is_a_transient_error(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nilo_consumers.postgres_retention._LOCK_LIMIT", "100ms")
    plan = plan_retention(filled, today())
    with database(filled) as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM events_llm")
        with pytest.raises(StoreUnavailableError):
            list(drop_expired(filled, plan))
    assert count_postgres(filled, LLM) == 7


def test_a_store_without_tables_has_nothing_to_drop(settings: Settings) -> None:
    assert plan_retention(settings, today()) == []
