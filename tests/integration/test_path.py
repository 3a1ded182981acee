"""The whole way: a real trace through Kafka, Faust, PostgreSQL and Parquet, counted everywhere."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from nilo_consumers.read import count_parquet, count_postgres
from nilo_schemas.settings import Settings
from tests.integration.programs import SHARED, free_port, nilo, running, wait_for
from tests.integration.windows import newest_windows, read_topic

TRACE = SHARED / "data" / "llm" / "azure_llm_2023_conv.parquet"
pytestmark = pytest.mark.integration
needs_trace = pytest.mark.skipif(not TRACE.exists(), reason=f"no trace at {TRACE}")


def query(text: str) -> list[Any]:
    """The rows of a DuckDB query."""
    return duckdb.connect().execute(text).fetchall()


def reference(window: str) -> dict[Any, tuple[int, int, int]]:
    """Calls, and sum and largest of input tokens per window, by a query over the file."""
    rows = query(
        f"""
        select epoch(time_bucket(interval '{window}', "TIMESTAMP"::timestamp)) as start,
               count(*), sum("ContextTokens"), max("ContextTokens")
        from '{TRACE}' group by start order by start
        """
    )
    return {int(start): (count, int(total), largest) for start, count, total, largest in rows}


def windows_of(settings: Settings, metric: str, length: str) -> dict[int, Any]:
    return {
        int(window.window_start.timestamp()): window
        for (name, text, *_), window in newest_windows(settings).items()
        if (name, text) == (metric, length)
    }


@needs_trace
def test_a_real_trace_is_the_same_in_every_store(settings: Settings, tmp_path: Path) -> None:
    """File rows = Kafka = PostgreSQL = Parquet; windows = DuckDB over the file."""
    rows = query(f"select count(*) from '{TRACE}'")[0][0]
    with (
        running(settings, "process", "--metrics-port", free_port(), log=tmp_path / "process.log"),
        running(settings, "sink", "postgres", log=tmp_path / "postgres.log"),
        running(settings, "sink", "parquet", log=tmp_path / "parquet.log"),
    ):
        played = nilo(settings, "play", str(TRACE), "--as", "llm.call")
        assert played.returncode == 0, played.stderr
        assert len(read_topic(settings, "events.llm")) == rows
        wait_for("rows in PostgreSQL", lambda: count_postgres(settings, "events.llm") == rows)
        wait_for("rows in Parquet", lambda: count_parquet(settings, "events.llm") == rows)

        def closed() -> bool:
            found = windows_of(settings, "llm.calls", "10s")
            return bool(sum(w.count for w in found.values() if w.final) == rows)

        wait_for("all windows final", closed)

    for length, text in (("10 seconds", "10s"), ("1 minute", "1m")):
        wanted = reference(length)
        found = windows_of(settings, "llm.calls", text)
        assert {start: window.count for start, window in found.items()} == {
            start: count for start, (count, *_) in wanted.items()
        }
    tokens = windows_of(settings, "llm.input_tokens", "1m")
    assert {start: (w.count, w.sum, w.max) for start, w in tokens.items()} == reference("1 minute")
    assert not read_topic(settings, "dlq.events.llm")


@needs_trace
def test_a_killed_worker_goes_on_where_its_state_ends(settings: Settings, tmp_path: Path) -> None:
    """SIGKILL in the middle of the trace, a new worker, the same windows."""
    log = tmp_path / "process.log"
    with running(settings, "process", "--metrics-port", free_port(), log=log) as first:
        played = nilo(settings, "play", str(TRACE), "--as", "llm.call", "--limit", "10000")
        assert played.returncode == 0, played.stderr
        wait_for("the first windows", lambda: windows_of(settings, "llm.calls", "10s"))
        first.send_signal(signal.SIGKILL)
        first.wait()
    first_rows = f"(select * from '{TRACE}' limit 10000)"
    wanted = query(
        f"""
        select epoch(time_bucket(interval '10 seconds', "TIMESTAMP"::timestamp)) as start, count(*)
        from {first_rows} group by start
        """
    )

    with running(settings, "process", "--metrics-port", free_port(), log=log):

        def closed() -> dict[int, Any] | None:
            found = windows_of(settings, "llm.calls", "10s")
            whole = sum(w.count for w in found.values()) >= 10_000
            return found if whole and all(w.final for w in found.values()) else None

        found = wait_for("all windows final", closed)

    assert {start: w.count for start, w in found.items()} == {int(s): n for s, n in wanted}
