"""Reading the PostgreSQL store: look-ups go by the indexes, and the SQL of the docs runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nilo_consumers import count_postgres, windows_postgres
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.integration.programs import wait_for
from tests.integration.sinking import LLM, query
from tests.integration.storing import database, llm_batch, maintained, noon, storing, window_batch
from tests.integration.test_postgres_maintenance import window

pytestmark = pytest.mark.integration
DOCS = Path(__file__).parents[2] / "docs/postgres.md"
ROWS = 40_000
# More rows like the first one of a table.
MORE = """
    INSERT INTO {table} SELECT (jsonb_populate_record(first, changed)).*
    FROM (SELECT one AS first FROM {table} AS one LIMIT 1) AS found,
         generate_series(1, {rows}) AS n,
         jsonb_build_object('kafka_offset', n, {changes}) AS changed
"""


@pytest.fixture
def filled(own: Settings) -> Settings:
    """A day of events and one of windows, with all statistics that the planner may want."""
    with storing(own, LLM, MetricWindow.kafka_topic) as sink:
        sink.write(llm_batch(own, [noon()], session_id="s0", subject="a"))
        sink.write(window_batch(own, [window("m0", noon())]))
    events = "'id', 'id' || n, 'session_id', 's' || n / 20, 'subject', 'a' || n / 20"
    windows = "'metric', 'm' || n % 50, 'revision', n"
    for table, changes in (("events_llm", events), ("metrics_windows", windows)):
        statement = MORE.format(table=table, rows=ROWS, changes=changes)
        with database(own) as connection:
            connection.execute(statement.encode())
            connection.execute(f"VACUUM ANALYZE {table}".encode())
    return own


LOOK_UPS: dict[str, Callable[[Settings], bool]] = {
    "a stretch of offsets": lambda store: (
        count_postgres(store, LLM, ranges={0: (500, 600), 1: (0, 9)}) == 100
    ),
    "the windows of a metric": lambda store: (
        len(windows_postgres(store, "m7", window="1m", since=noon())) == 1
    ),
    "an event": lambda store: one(store, "id = 'id777'") == 1,
    "a session": lambda store: one(store, "session_id = 's77'") == 20,
    "a subject": lambda store: one(store, "subject = 'a77'") == 20,
}


def one(settings: Settings, condition: str) -> int:
    return len(query(settings, f"SELECT * FROM events_llm WHERE {condition}"))


def scans(settings: Settings) -> dict[str, int]:
    """How often the tables that have rows were read whole, and by an index."""
    [found] = query(
        settings,
        "SELECT coalesce(sum(seq_scan), 0) AS whole, coalesce(sum(idx_scan), 0) AS by_index"
        " FROM pg_stat_user_tables WHERE schemaname = current_schema()"
        " AND relname ~ '^(events_llm|metrics_windows)_\\d' AND n_live_tup > 0",
    )
    return {name: int(number) for name, number in found.items()}


def test_look_ups_read_no_day_whole(filled: Settings) -> None:
    for name, look_up in LOOK_UPS.items():
        before = scans(filled)
        assert look_up(filled), name
        wait_for(f"statistics of {name}", lambda: scans(filled)["by_index"] > before["by_index"])  # noqa: B023  used at once
        assert scans(filled)["whole"] == before["whole"], name


def test_the_sql_of_the_docs_runs(own: Settings) -> None:
    blocks = re.findall(r"(?:^    .+\n)+", DOCS.read_text(), re.M)
    with storing(own, LLM, MetricWindow.kafka_topic):
        maintained(own)
    assert len(blocks) == 4
    for block in blocks:
        query(
            own, block.replace("nilo.", "").replace("SCHEMA nilo", f"SCHEMA {own.database_schema}")
        )
