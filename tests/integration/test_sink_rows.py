"""Rows that a store refuses are found and buried; a rebalance during a write is harmless."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import pytest
from deltalake import DeltaTable

from nilo_consumers.lake import table_location
from nilo_schemas.codec import decode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.integration.programs import wait_for
from tests.integration.sinking import LLM, SINK, calls, each_store, query, send, sinking, wait_count
from tests.integration.windows import read_topic

pytestmark = pytest.mark.integration
POISON = LlmEvent(type="llm.call", source="poison")


def refuse_in_postgres(settings: Settings) -> None:
    query(settings, "ALTER TABLE events_llm ADD CHECK (source <> 'poison')")


def refuse_in_lake(settings: Settings) -> None:
    table = DeltaTable(table_location(settings, LLM))
    table.alter.add_constraint({"no_poison": "source <> 'poison'"})


def refuse_in_sqlite(settings: Settings) -> None:
    with closing(sqlite3.connect(settings.sqlite_location)) as connection:
        connection.execute(
            "CREATE TRIGGER no_poison BEFORE INSERT ON events_llm WHEN NEW.source = 'poison'"
            " BEGIN SELECT RAISE(ABORT, 'poison'); END"
        )


REFUSE: dict[str, Callable[[Settings], None]] = {
    "postgres": refuse_in_postgres,
    "parquet": refuse_in_lake,
    "sqlite": refuse_in_sqlite,
}


@each_store
def test_rows_that_the_store_refuses_become_dead_letters_and_the_rest_lands(
    settings: Settings, store: str
) -> None:
    """Poison at the begin, in the middle and at the end, also two in a row and alone at last."""
    with sinking(store, settings, topics=[LLM]):
        pass
    REFUSE[store](settings)
    send(settings, [POISON], partition=0)
    calls(settings, 40)
    send(settings, [POISON, POISON], partition=1)
    calls(settings, 40)
    send(settings, [POISON], partition=3, key=b"k", headers=[("h", b"1")])

    with sinking(store, settings, topics=[LLM]) as sink:
        wait_count(store, settings, 80)
        wait_for("the last letter", lambda: len(read_topic(settings, f"dlq.{LLM}")) == 4)
        assert sink.total("nilo_dead_letters_total") == 4
        send(settings, [POISON], partition=2)
        wait_for("the one alone", lambda: len(read_topic(settings, f"dlq.{LLM}")) == 5)
    with sinking(store, settings, topics=[LLM]):
        calls(settings, 1)
        wait_count(store, settings, 81)

    letters = read_topic(settings, f"dlq.{LLM}")
    headers = [dict(letter.headers()) for letter in letters]
    origins = sorted(
        (int(one["__connect.errors.partition"]), int(one["__connect.errors.offset"]))
        for one in headers
    )
    assert origins == [(0, 0), (1, 10), (1, 11), (2, 20), (3, 20)]
    assert {one["x-nilo-error-code"] for one in headers} == {b"refused"}
    assert {one["__connect.errors.stage"] for one in headers} == {b"TASK_PUT"}
    assert [letter.key() for letter in letters].count(b"k") == 1
    assert [one.get("h") for one in headers].count(b"1") == 1
    schema = Registry(settings).schema
    assert all(decode(letter.value(), LlmEvent, schema) == POISON for letter in letters)


@each_store
def test_a_rebalance_during_a_write_loses_and_doubles_nothing(
    settings: Settings, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first write hangs until another sink has stored the same rows, and only then begins."""
    sink_class = SINK[store]
    write, hanging, go_on = sink_class.write, threading.Event(), threading.Event()

    def hangs_once(self: Any, batch: Any) -> int:
        if not hanging.is_set():
            hanging.set()
            assert go_on.wait(60)
        rows: int = write(self, batch)
        return rows

    monkeypatch.setattr(sink_class, "write", hangs_once)
    calls(settings, 1000, partition=0)
    calls(settings, 1000, partition=3)
    with ExitStack() as stack:
        stack.callback(go_on.set)
        stack.enter_context(sinking(store, settings, topics=[LLM]))
        assert hanging.wait(30)
        calls(settings, 500, partition=0)
        stack.enter_context(sinking(store, settings, topics=[LLM]))
        stack.enter_context(sinking(store, settings, topics=[LLM]))
        go_on.set()
        wait_count(store, settings, 2500)
        calls(settings, 500, partition=3)
        wait_count(store, settings, 3000)
