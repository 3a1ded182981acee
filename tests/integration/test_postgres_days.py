"""Day partitions: every row has a place, replays change nothing, and rows move once."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from nilo_consumers import count_postgres, postgres_days
from nilo_consumers.batch import Batch
from nilo_consumers.postgres import PostgresSink
from nilo_consumers.postgres_days import DAYS_AHEAD, make_day, partitions
from nilo_schemas.codec import encode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.integration.programs import running, wait_for
from tests.integration.sinking import LLM, produce, query, sinking, wait_count
from tests.integration.storing import (
    FAR_AHEAD,
    LONG_AGO,
    at_once,
    database,
    llm_batch,
    noon,
    rows_by_day,
    storing,
)

pytestmark = [pytest.mark.integration, pytest.mark.topics("events.llm", "metrics.windows")]


@pytest.fixture
def settings(own: Settings) -> Settings:
    """Most of these tests do without Kafka."""
    return own


def test_hot_days_have_partitions_and_every_other_time_is_in_default(settings: Settings) -> None:
    edge = settings.hot_days
    cold = [LONG_AGO, FAR_AHEAD, noon(-edge - 1), noon(DAYS_AHEAD + 1)]
    hot = [noon(), noon(-1), noon(-edge), noon(DAYS_AHEAD)]
    with storing(settings) as sink:
        written = sink.write(llm_batch(settings, [*cold, *hot, noon()]))

    assert written == 9
    days = Counter(None if at in cold else at.date() for at in (*cold, *hot, noon()))
    assert rows_by_day(settings) == days


def test_a_day_ends_at_midnight_in_utc_whatever_the_sessions_time_zone(settings: Settings) -> None:
    url = make_conninfo(settings.database(), options="-c timezone=America/New_York")
    there = settings.model_copy(update={"database_url": SecretStr(url)})
    midnight = noon() - timedelta(hours=12)
    just_before = midnight - timedelta(microseconds=1)
    with storing(there) as sink:
        sink.write(llm_batch(settings, [just_before, midnight]))
    with storing(there) as sink:
        sink.write(llm_batch(settings, [midnight], start=2))

    assert rows_by_day(settings) == {just_before.date(): 1, midnight.date(): 2}


def test_a_batch_over_several_days_twice_is_stored_once(settings: Settings) -> None:
    times = [LONG_AGO, noon(-2), noon(), FAR_AHEAD, noon(1)]
    with storing(settings) as sink:
        written = [sink.write(llm_batch(settings, times)) for _ in range(2)]
        overlapping = sink.write(llm_batch(settings, [*times, noon(2)]))

    assert (written, overlapping) == ([5, 0], 1)
    assert count_postgres(settings, LLM, distinct=True) == count_postgres(settings, LLM) == 6


def test_a_day_of_which_default_has_rows_takes_them_over(settings: Settings) -> None:
    later = noon(DAYS_AHEAD + 2)
    with storing(settings) as sink, database(settings) as connection:
        sink.write(llm_batch(settings, [later, LONG_AGO, later]))
        before = query(settings, "SELECT * FROM events_llm ORDER BY kafka_offset")
        for _ in range(2):
            make_day(connection, settings.database_schema, LLM, later.date())
        sink.write(llm_batch(settings, [later], start=3))
        moved = query(settings, "SELECT * FROM events_llm ORDER BY kafka_offset LIMIT 3")

    assert rows_by_day(settings) == {None: 1, later.date(): 3}
    assert moved == before


def test_while_default_is_locked_rows_of_other_days_are_written(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader holds DEFAULT: a day is not made, its rows wait in DEFAULT, and nobody is stuck."""
    monkeypatch.setattr(postgres_days, "_LOCK_LIMIT", "100ms")
    with storing(settings) as sink, database(settings) as reader:
        sink.write(llm_batch(settings, [noon()]))
        with reader.transaction():
            reader.execute("SELECT count(*) FROM events_llm_default")
            assert sink.write(llm_batch(settings, [noon(), noon(1)], start=1)) == 2
            with pytest.raises(psycopg.errors.LockNotAvailable), database(settings) as other:
                make_day(other, settings.database_schema, LLM, noon(2).date())

    assert rows_by_day(settings) == {None: 1, noon().date(): 2}


def test_two_who_make_the_same_day_at_once_make_it_once(settings: Settings) -> None:
    with storing(settings):
        pass

    def make() -> None:
        with database(settings) as connection:
            for day in range(DAYS_AHEAD):
                make_day(connection, settings.database_schema, LLM, noon(day).date())

    assert at_once(make) == []
    with database(settings) as connection:
        assert len(partitions(connection, settings.database_schema, LLM)) == DAYS_AHEAD + 1


def test_a_day_that_another_process_makes_during_copy_takes_the_rows(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COPY has begun and would put its rows into DEFAULT; the second try lets no day be made."""
    monkeypatch.setattr(postgres_days, "_LOCK_LIMIT", "100ms")
    stores: list[None] = []
    store, write = PostgresSink._store, psycopg.Copy.write

    def counted(self: PostgresSink, batch: Batch, **more: bool) -> int:
        stores.append(None)
        return store(self, batch, **more)

    def overtaken(self: psycopg.Copy, text: bytes) -> None:
        day = noon(len(stores) - 1).date()
        with database(settings) as other, suppress(psycopg.errors.LockNotAvailable):
            make_day(other, settings.database_schema, LLM, day)
        write(self, text)

    with storing(settings) as sink:
        monkeypatch.setattr(PostgresSink, "_make_days", lambda *_: None)
        monkeypatch.setattr(PostgresSink, "_store", counted)
        monkeypatch.setattr(psycopg.Copy, "write", overtaken)
        assert sink.write(llm_batch(settings, [LONG_AGO, noon(), noon(1)])) == 3

    assert len(stores) == 2
    assert rows_by_day(settings) == {None: 2, noon().date(): 1}


@pytest.mark.usefixtures("topics")
@pytest.mark.topics
def test_a_killed_sink_goes_on_over_days_and_default(settings: Settings, tmp_path: Path) -> None:
    """SIGKILL in a stream whose every batch spans days; the maintenance runs meanwhile."""
    busy = settings.model_copy(update={"maintenance_every": 0.1})
    times = [LONG_AGO, noon(-3), noon(-1), noon(), noon(1), noon(DAYS_AHEAD + 3), FAR_AHEAD]
    schema_id = Registry(settings).schema_id(LlmEvent)
    values = [encode(_call(at), schema_id) for at in times]
    sent = 22_000 * len(values)
    produce(settings, LLM, values * 20_000)
    with running(busy, "sink", "postgres", log=tmp_path / "log") as process:
        wait_for("rows", lambda: count_postgres(settings, LLM))
        process.send_signal(signal.SIGKILL)
        process.wait()
    produce(settings, LLM, values * 2_000)
    with sinking("postgres", busy, topics=[LLM]):
        wait_count("postgres", settings, sent)

    found = query(settings, 'SELECT "time" AS at, count(*) AS rows FROM events_llm GROUP BY 1')
    assert {row["at"]: row["rows"] for row in found} == dict.fromkeys(times, sent // len(times))
    cold = Counter(at.date() if at in times[1:5] else None for at in times)
    each = sent // len(times)
    assert rows_by_day(settings) == {day: number * each for day, number in cold.items()}


def _call(at: datetime) -> LlmEvent:
    return LlmEvent(type="llm.call", source="test", time=at)
