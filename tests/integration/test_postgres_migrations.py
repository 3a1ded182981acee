"""Migrations: old stores lose nothing, files run once, and who may create nothing still writes."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from nilo_consumers import StoreRefusedError, windows_postgres
from nilo_consumers.postgres_migrations import Migration, migrate, migrations
from nilo_schemas.families import ChatEvent
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.integration.programs import running, wait_for
from tests.integration.sinking import LLM, query
from tests.integration.storing import (
    FAR_AHEAD,
    LONG_AGO,
    at_once,
    database,
    llm_batch,
    maintained,
    noon,
    rows_by_day,
    storing,
)

pytestmark = pytest.mark.integration
OLD_STORE = (Path(__file__).parent / "old_store.sql").read_bytes()
TABLES = ("sink_offsets", "events_chat", "events_llm", "metrics_windows")
FILL = """
    INSERT INTO events_llm (id, type, time, source, severity, sample_rate, attributes, attempt,
                            status, kafka_partition, kafka_offset, session_id)
    SELECT 'id' || n, 'llm.call', %(today)s::timestamptz - n * interval '6 hours', 'old', 'INFO', 1,
           '{"a": "b"}', 1, 'OK', n %% 2, n / 2, 's' || n / 10 FROM generate_series(0, 399) AS n;
    INSERT INTO metrics_windows (metric, unit, "window", window_start, window_end, dimensions,
                                 count, errors, rate, error_ratio, quantiles, final, revision,
                                 watermark, sources, kafka_partition, kafka_offset, stored_at)
    SELECT 'llm.calls', '', '1m', at, at + interval '1 minute', '{"model": "m"}', 1 + revision, 0,
           1, 0, '{}', true, revision, at, '[]', 0, n,
           %(today)s::timestamptz + make_interval(hours => revision)
    FROM generate_series(0, 99) AS n, generate_series(0, 1) AS revision,
         LATERAL (SELECT %(today)s::timestamptz - n * interval '1 day' AS at) AS each;
    INSERT INTO sink_offsets VALUES ('postgres', %(topic)s, 0, 200), ('postgres', %(topic)s, 1, 200)
"""


@pytest.fixture
def settings(own: Settings) -> Settings:
    """Most of these tests do without Kafka."""
    return own


@pytest.fixture
def old(settings: Settings) -> Settings:
    """A filled store of the version before migrations; others may read the LLM events."""
    schema = settings.database_schema
    with database(settings) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(f"CREATE SCHEMA {schema}".encode())
        cursor.execute(OLD_STORE)
        values = {"today": noon(), "topic": settings.topic_prefix + LLM}
        cursor.execute(FILL, values)
        cursor.execute("GRANT SELECT ON events_llm TO PUBLIC")
    return settings


def contents(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables."""
    rows = {name: query(settings, f"SELECT * FROM {name}") for name in TABLES}
    for row in chain.from_iterable(rows.values()):
        row.pop("kafka_timestamp", None)  # a column of later versions, of which old rows have none
    return {name: sorted(found, key=str) for name, found in rows.items()}


def applied(settings: Settings) -> list[int]:
    rows = query(settings, "SELECT number FROM schema_migrations ORDER BY number")
    return [row["number"] for row in rows]


def test_a_store_of_before_keeps_rows_offsets_grants_and_what_was_known_when(
    old: Settings,
) -> None:
    before = contents(old)
    about = "SELECT obj_description('events_llm'::regclass) AS about"
    comment = query(old, about)
    with storing(old, LLM, MetricWindow.kafka_topic) as sink:
        stored = sink.connect([(old.topic_prefix + LLM, 0)])
        assert contents(old) == before
        assert sink.write(llm_batch(old, [noon(), LONG_AGO], start=200)) == 2

    assert stored == {(old.topic_prefix + LLM, number): 200 for number in (0, 1)}
    assert query(old, about) == comment
    assert rows_by_day(old)[noon().date()] == 4  # three of before, made 6 hours apart until noon
    [grants] = query(
        old, "SELECT count(*) FROM information_schema.table_privileges WHERE grantee = 'PUBLIC'"
        " AND table_name = 'events_llm' AND table_schema = current_schema()"
    )  # fmt: skip
    assert grants["count"] == 1
    newest, first = (windows_postgres(old, "llm.calls", as_of=as_of) for as_of in (None, noon()))
    assert {each.revision for each in newest} == {1}
    assert {each.revision for each in first} == {0}
    assert len(newest) == len(first) == 100


def test_the_maintenance_moves_the_hot_days_of_an_old_store(old: Settings) -> None:
    before = contents(old)
    with storing(old):
        maintained(old)

    days = [(noon() - timedelta(hours=6 * n)).date() for n in range(400)]
    hot = noon(-old.hot_days).date()
    assert contents(old) == before
    assert rows_by_day(old) == Counter(day if day >= hot else None for day in days)


def test_an_old_store_and_a_new_one_have_the_same_tables(old: Settings) -> None:
    """Columns in another order are the only difference that there may be."""
    new = old.model_copy(update={"database_schema": old.database_schema + "_new"})
    topics = [ChatEvent.kafka_topic, LLM, MetricWindow.kafka_topic]
    for each in (old, new):
        with storing(each, *topics):
            pass

    assert shapes(old) == shapes(new)


def shapes(settings: Settings) -> set[tuple[Any, ...]]:
    """Columns, indexes, keys and bounds of all tables."""
    columns = query(
        settings,
        "SELECT relname, attname, format_type(atttypid, NULL) AS kind, attnotnull::text AS filled,"
        " coalesce(col_description(attrelid, attnum), '') AS about"
        " FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid"
        " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')"
        " AND attnum > 0 AND NOT attisdropped",
    )
    indexes = query(
        settings,
        "SELECT tablename, regexp_replace(indexdef, ' INDEX .* USING ', ' ') AS how"
        " FROM pg_indexes WHERE schemaname = current_schema()",
    )
    bounds = query(
        settings,
        "SELECT relname, pg_get_partkeydef(oid) AS key, pg_get_expr(relpartbound, oid) AS bound"
        " FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
        " AND relkind IN ('r', 'p')",
    )
    found = {tuple(row.values()) for row in (*columns, *indexes, *bounds)}
    # Comments of the default partition are those of the old table; a new one has none.
    return {(*row[:4],) if str(row[0]).endswith("_default") else row for row in found}


def test_sinks_that_start_at_once_migrate_once(old: Settings) -> None:
    before = contents(old)

    def start() -> None:
        with storing(old):
            pass

    assert at_once(start) == []
    assert contents(old) == before
    assert applied(old) == [each.number for each in migrations()]


@pytest.mark.usefixtures("topics")
def test_a_sink_killed_in_the_middle_of_a_migration_leaves_nothing_half_done(
    old: Settings, tmp_path: Path
) -> None:
    """`events_chat` is converted already when the sink meets the lock on `events_llm`."""
    before = contents(old)
    waiting = (
        "SELECT 1 FROM pg_locks JOIN pg_class ON relation = pg_class.oid WHERE NOT granted"
        " AND relname = 'events_llm' AND relnamespace = current_schema()::regnamespace"
    )
    with database(old) as reader, reader.transaction():
        reader.execute("SELECT FROM events_llm LIMIT 1")
        with running(old, "sink", "postgres", log=tmp_path / "log") as process:
            wait_for("the migration", lambda: query(old, waiting))
            process.send_signal(signal.SIGKILL)
            process.wait()
    wait_for("the end of its connection", lambda: not query(
        old, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'nilo-sink-postgres'"
        " AND query LIKE '%ATTACH PARTITION%'",
    ))  # fmt: skip
    assert applied(old) == [1]
    assert contents(old) == before
    with storing(old):
        assert contents(old) == before
    assert applied(old) == [each.number for each in migrations()]


@contextmanager
def plain_user(settings: Settings) -> Iterator[Settings]:
    """Settings of a database user who may read and write the tables and create nothing."""
    schema, role = settings.database_schema, settings.database_schema + "_plain"
    query(settings, f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    query(settings, f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    query(settings, f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {schema} TO {role}")
    url = make_conninfo(settings.database(), user=role, password="x")
    try:
        yield settings.model_copy(update={"database_url": SecretStr(url)})
    finally:
        query(settings, f"DROP OWNED BY {role}")
        query(settings, f"DROP ROLE {role}")


def test_a_user_who_may_create_nothing_writes_where_all_is_made(settings: Settings) -> None:
    """A day that is not made goes to DEFAULT, until somebody who may makes it."""
    with storing(settings) as sink:
        sink.write(llm_batch(settings, [noon()]))
    with plain_user(settings) as plain, storing(plain) as sink:
        assert sink.write(llm_batch(settings, [noon(), noon(-1), FAR_AHEAD], start=1)) == 3

    assert rows_by_day(settings) == {noon().date(): 2, None: 2}


def test_a_user_who_may_create_nothing_is_told_what_is_missing(settings: Settings) -> None:
    with storing(settings):
        pass
    with (
        plain_user(settings) as plain,
        pytest.raises(StoreRefusedError, match="permission denied"),
        storing(plain, ChatEvent.kafka_topic),
    ):
        pass


def test_a_store_of_a_newer_version_is_refused(settings: Settings) -> None:
    with storing(settings):
        pass
    query(settings, "INSERT INTO schema_migrations VALUES (9000, '9000_next', 'x')")
    with pytest.raises(StoreRefusedError, match=r"newer version.*9000.*upgrade"), storing(settings):
        pass


def test_a_file_that_was_changed_after_it_ran_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with storing(settings):
        pass
    changed = [Migration(each.name, each.text + "--") for each in migrations()]
    monkeypatch.setattr("nilo_consumers.postgres.migrations", lambda: changed)
    with pytest.raises(StoreRefusedError, match="0001_offsets is not the file"), storing(settings):
        pass


def test_of_a_migration_that_fails_nothing_stays(settings: Settings) -> None:
    schema, ours = settings.database_schema, [each.number for each in migrations()]
    broken = [*migrations(), Migration("9999_x", "CREATE TABLE x (); SELECT 1 / 0")]
    with database(settings) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            migrate(connection, schema, broken)
        assert applied(settings) == ours
        migrate(connection, schema, [*migrations(), Migration("9999_x", "CREATE TABLE x ()")])
    assert applied(settings) == [*ours, 9999]


def test_every_migration_is_found_in_its_order() -> None:
    assert [each.number for each in migrations()] == [*range(1, len(migrations()) + 1)]
