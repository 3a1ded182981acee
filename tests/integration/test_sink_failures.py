"""Stores that fail, sinks that are killed or get company: nothing lost, nothing twice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import deltalake
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from nilo_consumers import (
    StoreUnavailableError,
    count_postgres,
    delta,
)
from nilo_consumers.postgres import PostgresSink
from nilo_schemas.settings import Settings
from tests.integration.programs import running, wait_for
from tests.integration.sinking import (
    COUNT,
    LLM,
    calls,
    each_store,
    get,
    query,
    sinking,
    wait_count,
)

pytestmark = pytest.mark.integration


def fail_once(error: Exception, work: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    """`work`, which the first time raises before or after it is done."""
    failed: list[bool] = []

    def once(*arguments: Any, **more: Any) -> Any:
        if failed:
            return work(*arguments, **more)
        failed.append(True)
        if after:
            work(*arguments, **more)
        raise error

    return once


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "answer lost"])
def test_a_failed_transaction_leaves_nothing_and_the_next_try_all(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """`_move_offsets` is the last step before the commit; `write` returns after it."""
    error = psycopg.OperationalError("gone") if not after else StoreUnavailableError("gone")
    name = "write" if after else "_move_offsets"
    seen: list[int] = []
    connect = PostgresSink.connect

    def counted(self: PostgresSink, parts: Any) -> Any:
        seen.append(count_postgres(settings, LLM))
        return connect(self, parts)

    work = fail_once(error, getattr(PostgresSink, name), after=after)
    monkeypatch.setattr(PostgresSink, name, work)
    monkeypatch.setattr(PostgresSink, "connect", counted)
    calls(settings, 50, partition=0)
    with sinking("postgres", settings, topics=[LLM]):
        wait_for("second try", lambda: len(seen) > 1)
        wait_count("postgres", settings, 50)

    assert (seen[1] > 0) is after


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "answer lost"])
def test_a_failed_commit_of_the_lake_is_repeated_without_doubles(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    work = fail_once(OSError("gone"), deltalake.write_deltalake, after=after)
    monkeypatch.setattr(delta, "write_deltalake", work)
    calls(settings, 50)
    with sinking("parquet", settings, topics=[LLM]):
        wait_count("parquet", settings, 50)
        calls(settings, 50)
        wait_count("parquet", settings, 100)


def test_postgres_gone_for_a_while_loses_nothing(settings: Settings) -> None:
    """The sink's role may not log in and its connections are cut: it waits, in its group."""
    role = settings.database_schema + "_role"
    url = make_conninfo(settings.database(), user=role, password="x")
    own = settings.model_copy(update={"database_url": SecretStr(url)})
    query(settings, f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'x'")
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    try:
        with sinking("postgres", own, topics=[LLM]) as sink:
            calls(settings, 1000)
            wait_count("postgres", settings, 1000)
            query(settings, f"ALTER ROLE {role} NOLOGIN")
            query(settings, cut)
            calls(settings, 1000)
            wait_for("trouble is told", lambda: get(f"{sink.url}/health")[0] == 503)
            assert "PostgreSQL" in get(f"{sink.url}/health")[1]
            assert count_postgres(settings, LLM) == 1000
            query(settings, f"ALTER ROLE {role} LOGIN")
            wait_count("postgres", settings, 2000)
            wait_for("health", lambda: get(f"{sink.url}/health")[0] == 200)
            for _ in range(5):
                calls(settings, 1000)
                query(settings, cut)
            wait_count("postgres", settings, 7000)
    finally:
        query(settings, cut)
        query(settings, f"REASSIGN OWNED BY {role} TO CURRENT_USER")
        query(settings, f"DROP ROLE {role}")


@each_store
def test_a_killed_sink_goes_on_where_its_store_ends(
    settings: Settings, store: str, tmp_path: Path
) -> None:
    """SIGKILL in the middle of a stream, twice: every event once."""
    calls(settings, 200_000)
    rows = 0
    for round_ in (1, 2):
        with running(settings, "sink", store, log=tmp_path / "log") as process:
            wait_for("more rows", lambda: COUNT[store](settings, LLM) > rows)  # noqa: B023  used at once
            process.send_signal(signal.SIGKILL)
            process.wait()
        rows = COUNT[store](settings, LLM)
        calls(settings, 50_000 * round_)

    with sinking(store, settings):
        wait_count(store, settings, 350_000)


@each_store
def test_two_instances_share_the_partitions(settings: Settings, store: str) -> None:
    """One joins while the other works, then the first leaves: every event once, each has a part."""
    with ExitStack() as stack:
        with sinking(store, settings, topics=[LLM]) as first:
            calls(settings, 20_000)
            second = stack.enter_context(sinking(store, settings, topics=[LLM]))
            wait_count(store, settings, 20_000)
            calls(settings, 20_000)
            wait_count(store, settings, 40_000)
            assert second.total("nilo_stored_events_total") > 0
            assert first.total("nilo_stored_events_total") > 0
        calls(settings, 1000)
        wait_count(store, settings, 41_000)
        name = "kafka_consumergroup_lag"
        wait_for("all lag gone", lambda: [*_lags(second.samples(), name)] == [0.0] * 4)


def _lags(samples: dict[Any, float], name: str) -> list[float]:
    return [value for (found, _), value in samples.items() if found == name]
