"""The maintenance beside the sink: days ahead, views that are right, and nobody waits for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from nilo_consumers import postgres_days, postgres_maintenance, windows_postgres
from nilo_consumers.postgres import PostgresSink
from nilo_consumers.postgres_days import DAYS_AHEAD, days_made
from nilo_consumers.postgres_maintenance import Maintenance
from nilo_consumers.postgres_migrations import SqlFile
from nilo_consumers.postgres_views import views
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.integration.programs import wait_for
from tests.integration.sinking import LLM, calls, query, sinking
from tests.integration.storing import (
    LONG_AGO,
    database,
    llm_batch,
    maintained,
    noon,
    rows_by_day,
    storing,
    window_batch,
)

pytestmark = pytest.mark.integration
WINDOWS = MetricWindow.kafka_topic


@pytest.fixture
def settings(own: Settings) -> Settings:
    """Most of these tests do without Kafka."""
    return own


def window(metric: str, at: datetime, revision: int = 0, **more: Any) -> MetricWindow:
    values: dict[str, Any] = {
        "metric": metric,
        "unit": "",
        "window": "1m",
        "window_start": at,
        "window_end": at + timedelta(minutes=1),
        "dimensions": {"provider": "p", "model": "m"},
        "count": 10 + revision,
        "errors": revision,
        "sum": 0.25 * (1 + revision),
        "rate": 1.0,
        "error_ratio": 0.1,
        "final": True,
        "revision": revision,
        "watermark": at,
        "sources": [],
    }
    return MetricWindow(**(values | more))


def failures(registry: CollectorRegistry, step: str) -> float:
    return registry.get_sample_value("nilo_maintenance_failures_total", {"step": step}) or 0.0


def test_days_are_made_ahead_and_hot_rows_leave_default(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_days, "_LOCK_LIMIT", "100ms")
    cold = noon(-settings.hot_days - 1)
    with storing(settings) as sink:
        with database(settings) as reader, reader.transaction():
            reader.execute("SELECT count(*) FROM events_llm_default")
            sink.write(llm_batch(settings, [noon(-5), cold, LONG_AGO]))
        assert rows_by_day(settings) == {None: 3}
        maintained(settings)

    assert rows_by_day(settings) == {None: 2, noon(-5).date(): 1}
    with database(settings) as connection:
        made = days_made(connection, settings.database_schema, LLM)
    assert made == {noon(days).date() for days in (-5, *range(DAYS_AHEAD + 1))}


def test_a_topic_keeps_its_own_number_of_hot_days(settings: Settings) -> None:
    own = settings.model_copy(update={"hot_days": 2, "hot_days_by_topic": f"{LLM}=9"})
    with storing(own, LLM, WINDOWS) as sink:
        sink.write(llm_batch(own, [noon(-9), noon(-10)]))
        sink.write(window_batch(own, [window("m", noon(-9)), window("m", noon(-2))]))

    assert rows_by_day(own) == {noon(-9).date(): 1, None: 1}
    assert rows_by_day(own, WINDOWS) == {noon(-2).date(): 1, None: 1}


def test_revisions_are_kept_over_days_and_default(settings: Settings) -> None:
    """What was known when, also of windows whose partitions are made after their first revision."""
    starts = [LONG_AGO, noon(-40), noon(-1), noon(), noon(DAYS_AHEAD + 1)]
    first = [window("m", at) for at in starts]
    second = [window("m", at, 1) for at in starts]
    with storing(settings, WINDOWS) as sink:
        sink.write(window_batch(settings, first))
        known = datetime.now(UTC)
        maintained(settings)
        assert sink.write(window_batch(settings, [*first, *second], start=5)) == 5

    assert windows_postgres(settings, "m") == second
    assert windows_postgres(settings, "m", as_of=known) == first
    assert windows_postgres(settings, "m", since=noon(-1), until=noon(), as_of=known) == [first[2]]


class TestViews:
    """Each view against what Python makes of the same rows."""

    def test_windows_newest(self, settings: Settings) -> None:
        at = datetime.now(UTC).replace(microsecond=0)
        gone = at - timedelta(hours=1)
        written = [
            window("m", at),
            window("m", at, 1),
            window("m", at, dimensions={"provider": "q"}),
            window("m", gone, window="session 5m"),
            window("m", gone, 1, window="session 5m", count=0, errors=0),
            window("m", noon(-3)),
            window("m", noon(-3), window="1h", window_end=noon(-3) + timedelta(hours=1)),
            window("m", noon(-8), window="1h", window_end=noon(-8) + timedelta(hours=1)),
        ]
        self.store_windows(settings, written)

        rows = query(settings, "SELECT * FROM windows_newest")
        found = {(row["window"], row["window_start"], _key(row["dimensions"])): row for row in rows}
        wanted = [written[1], written[2], written[6]]
        assert len(found) == len(rows) == len(wanted)
        for each in wanted:
            row = found[each.window, each.window_start, _key(each.dimensions)]
            names = row.keys() - {"stored_at"}
            assert {name: row[name] for name in names} == {n: getattr(each, n) for n in names}

    def test_cost_and_errors_by_day(self, settings: Settings) -> None:
        """Also of a day whose windows of a minute are gone, but one that came late."""
        days = [noon(), noon() + timedelta(hours=11, minutes=59), noon(-1), noon(-29)]
        series = [
            {"provider": "p", "model": "m"},
            {"provider": "p", "model": "n"},
            {"provider": "__other__", "model": "__other__"},
        ]
        newest = [
            window(
                metric,
                at,
                1,
                dimensions=dimensions,
                count=5 + number,
                errors=number,
                window="1h" if at == noon(-29) else "1m",
            )
            for metric in ("llm.cost", "llm.calls")
            for at in days
            for number, dimensions in enumerate(series)
        ]
        older = [
            each.model_copy(update={"revision": 0, "count": 99, "sum": 9.0}) for each in newest
        ]
        aside = [window("llm.cost", noon(), window="5m"), window("llm.cost", noon(-31))]
        aside += [window(metric, noon(-29), count=1) for metric in ("llm.cost", "llm.calls")]
        self.store_windows(settings, [*older, *newest, *aside])

        cost: dict[Any, list[float]] = defaultdict(lambda: [0, 0.0])
        errors: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
        for each in newest:
            day, provider = each.window_start.date(), each.dimensions["provider"]
            if each.metric == "llm.cost":
                cost[day, provider, each.dimensions["model"]][0] += each.count
                cost[day, provider, each.dimensions["model"]][1] += each.sum or 0.0
            else:
                errors[day, provider][0] += each.count
                errors[day, provider][1] += each.errors
        rows = [tuple(row.values()) for row in query(settings, "SELECT * FROM llm_cost_by_day")]
        assert sorted(rows) == sorted((*key, *values) for key, values in cost.items())
        rows = [tuple(row.values()) for row in query(settings, "SELECT * FROM llm_errors_by_day")]
        assert sorted(rows) == sorted(
            (*key, count, failed, failed / count) for key, (count, failed) in errors.items()
        )

    def test_sessions(self, settings: Settings) -> None:
        times = [noon(-6), noon(-1), noon(-2)]
        with storing(settings) as sink:
            batches = [
                llm_batch(settings, times, session_id="a", cost=2_000_000_000, status="ERROR"),
                llm_batch(settings, [noon()], start=3, session_id="b"),
                llm_batch(settings, [noon()], start=4, session_id="a", cost=1),
                llm_batch(settings, [noon()], start=5),
                llm_batch(settings, [noon(-8)], start=6, session_id="a"),
            ]
            for batch in batches:
                sink.write(batch)
        maintained(settings)

        rows = query(settings, "SELECT * FROM llm_sessions ORDER BY session_id")
        assert [tuple(map(str, row.values())) for row in rows] == [
            ("a", str(noon(-6)), str(noon()), "4", "3", "6.0000000010000000"),
            ("b", str(noon()), str(noon()), "1", "0", "None"),
        ]

    def store_windows(self, settings: Settings, windows: Sequence[MetricWindow]) -> None:
        with storing(settings, WINDOWS) as sink:
            half = len(windows) // 2
            sink.write(window_batch(settings, windows[:half]))
            maintained(settings)
            sink.write(window_batch(settings, windows[half:], start=half))
        assert failures(maintained(settings), "windows_newest") == 0


def test_views_survive_new_columns_and_tables_that_come_later(settings: Settings) -> None:
    with storing(settings):
        maintained(settings)
    assert made_views(settings) == {"llm_sessions"}
    query(settings, "ALTER TABLE events_llm DROP COLUMN prompt_hash")
    with storing(settings, LLM, WINDOWS) as sink:
        sink.write(llm_batch(settings, [noon()], session_id="s", prompt_hash="h"))
        registry = maintained(settings)

    assert made_views(settings) == {view.name for view in views()}
    assert all(failures(registry, view.name) == 0 for view in views())
    assert query(settings, "SELECT session_id FROM llm_sessions") == [{"session_id": "s"}]


def _key(dimensions: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(dimensions.items())


def made_views(settings: Settings) -> set[str]:
    rows = query(
        settings, "SELECT matviewname FROM pg_matviews WHERE schemaname = current_schema()"
    )
    return {row["matviewname"] for row in rows}


def test_a_view_of_which_the_file_has_changed_is_made_anew(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with storing(settings):
        maintained(settings)
    changed = SqlFile(
        "llm_sessions", "CREATE MATERIALIZED VIEW llm_sessions AS SELECT 1 AS one;"
        "CREATE UNIQUE INDEX ON llm_sessions (one)"
    )  # fmt: skip
    monkeypatch.setattr(postgres_maintenance, "views", lambda: [changed])
    maintained(settings)

    assert query(settings, "SELECT * FROM llm_sessions") == [{"one": 1}]


def test_a_reader_of_a_view_does_not_hold_up_its_refresh(settings: Settings) -> None:
    """A refresh that is not concurrent would wait for the reader."""
    with storing(settings) as sink:
        maintained(settings)
        sink.write(llm_batch(settings, [noon()], session_id="s"))
    with database(settings) as reader, reader.transaction():
        assert reader.execute("SELECT session_id FROM llm_sessions").fetchall() == []
        with database(settings) as connection:
            connection.execute("SET lock_timeout = '5s'")
            Maintenance(settings, lambda: connection, None).round(connection)
        assert reader.execute("SELECT session_id FROM llm_sessions").fetchall() == [("s",)]


def test_of_several_sinks_one_does_the_work(settings: Settings) -> None:
    with storing(settings), database(settings) as busy:
        busy.execute(
            "SELECT pg_advisory_lock(%s, hashtext(%s))",
            [postgres_maintenance._LOCK, settings.database_schema],
        )
        maintained(settings)
        assert made_views(settings) == set()
    maintained(settings)
    assert made_views(settings) == {"llm_sessions"}


@pytest.mark.usefixtures("topics")
def test_what_fails_is_counted_and_the_rest_is_done_and_the_sink_goes_on(
    settings: Settings,
) -> None:
    with storing(settings, LLM, WINDOWS):
        maintained(settings)
    query(settings, "DROP INDEX llm_sessions_session_id_idx")
    query(settings, "DROP MATERIALIZED VIEW windows_newest")
    busy = settings.model_copy(update={"maintenance_every": 0.1})
    name, labels = "nilo_maintenance_failures_total", frozenset({("step", "llm_sessions")})
    with sinking("postgres", busy, topics=[LLM]) as sink:
        wait_for("failures", lambda: sink.samples().get((name, labels), 0) > 1)
        calls(settings, 10)
        wait_for("rows", lambda: sink.total("nilo_stored_events_total") == 10)
        wait_for("the others", lambda: "windows_newest" in made_views(settings))
        assert sink.total(name) == sink.samples()[name, labels]


def test_a_refresh_that_hangs_holds_up_neither_writing_nor_the_end(settings: Settings) -> None:
    with storing(settings):
        maintained(settings)
    busy = settings.model_copy(update={"maintenance_every": 0.1})
    waiting = (
        "SELECT 1 AS one FROM pg_locks JOIN pg_class ON relation = pg_class.oid WHERE NOT granted"
        " AND relname = 'llm_sessions' AND relnamespace = current_schema()::regnamespace"
    )
    with database(settings) as other, other.transaction():
        other.execute("REFRESH MATERIALIZED VIEW llm_sessions")  # keeps it locked
        with storing(busy) as sink:
            wait_for("a refresh", lambda: query(settings, waiting))
            assert sink.write(llm_batch(settings, [noon()])) == 1
        assert query(settings, waiting) == []


def test_a_database_that_goes_away_does_not_end_the_maintenance(settings: Settings) -> None:
    busy = settings.model_copy(update={"maintenance_every": 0.1})
    registry, schema = CollectorRegistry(), settings.database_schema
    sink = PostgresSink(busy, registry)
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND classid = %s"
        " AND objid::bigint = hashtext(%s)::bigint & x'ffffffff'::bigint"
        " AND wait_event_type = 'Lock' AND query LIKE '%%llm_sessions%%'"  # not in another step
    )
    sink.connect([(settings.topic_prefix + LLM, 0)])
    wait_for("the first round", lambda: "llm_sessions" in made_views(settings))
    with database(settings) as other, other.transaction():
        other.execute("REFRESH MATERIALIZED VIEW llm_sessions")  # keeps it locked
        wait_for("a cut", lambda: query(settings, cut, postgres_maintenance._LOCK, schema))
    wait_for("the failure", lambda: failures(registry, "llm_sessions") > 0)
    query(settings, "DROP MATERIALIZED VIEW llm_sessions")
    wait_for("a later round", lambda: "llm_sessions" in made_views(settings))
    sink.close()
