"""A store that fails before its commit: nothing of the batch is there, and the next try has all.

What holds for every sink is in tests/integration/conformance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import deltalake
import psycopg
import pytest

from nilo_consumers import count_postgres, delta
from nilo_consumers.postgres import PostgresSink
from nilo_schemas.settings import Settings
from tests.integration.programs import wait_for
from tests.integration.sinking import LLM, calls, sinking, wait_count

pytestmark = [pytest.mark.integration, pytest.mark.topics("events.llm")]


def fail_once(error: Exception, work: Callable[..., Any]) -> Callable[..., Any]:
    """`work`, which the first time raises before it is done."""
    failed: list[bool] = []

    def once(*arguments: Any, **more: Any) -> Any:
        if failed:
            return work(*arguments, **more)
        failed.append(True)
        raise error

    return once


def test_a_failed_transaction_leaves_nothing_and_the_next_try_all(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`_move_offsets` is the last step before the commit."""
    seen: list[int] = []
    connect = PostgresSink.connect

    def counted(self: PostgresSink, parts: Any) -> Any:
        seen.append(count_postgres(settings, LLM))
        return connect(self, parts)

    work = fail_once(psycopg.OperationalError("gone"), PostgresSink._move_offsets)
    monkeypatch.setattr(PostgresSink, "_move_offsets", work)
    monkeypatch.setattr(PostgresSink, "connect", counted)
    calls(settings, 50, partition=0)
    with sinking("postgres", settings, topics=[LLM]):
        wait_for("second try", lambda: len(seen) > 1)
        wait_count("postgres", settings, 50)

    assert seen[1] == 0


def test_a_failed_commit_of_the_lake_is_repeated_without_doubles(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = fail_once(OSError("gone"), deltalake.write_deltalake)
    monkeypatch.setattr(delta, "write_deltalake", work)
    calls(settings, 50)
    with sinking("parquet", settings, topics=[LLM]):
        wait_count("parquet", settings, 50)
        calls(settings, 50)
        wait_count("parquet", settings, 100)
