"""What the sinks store is what was sent, field by field; what is no event is a dead letter."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable

from nilo_consumers.lake import table_location
from nilo_schemas.envelope import Severity
from nilo_schemas.families import EvolutionEvent, GraphEvent, LlmEvent, Market, TradeEvent
from nilo_schemas.settings import Settings
from tests.integration.sinking import (
    LLM,
    calls,
    each_store,
    produce,
    query,
    send,
    sinking,
    wait_count,
)
from tests.integration.windows import read_topic

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics(
        "events.llm", "events.trade", "events.graph", "events.evolution", "metrics.windows"
    ),
]
T0 = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)

EVERY_FIELD = [
    LlmEvent(
        type="llm.call", time=T0, source='s "quoted", \\', subject="sub\nject\ttab",
        severity=Severity.ERROR,
        session_id="s", trace_id="a" * 32, span_id="b" * 16, parent_span_id="c" * 16,
        causation_id="d", sample_rate=3, attributes={"k": 'v"\\\n\x01', "": "ü🌊"}, provider="p",
        model="m", operation="chat", status="RETRIED", error_type="", duration=timedelta(days=1),
        time_to_first_token=timedelta(microseconds=1), input_tokens=2**63 - 1, output_tokens=0,
        cached_input_tokens=1, reasoning_tokens=2, cost=Decimal("0.000000001"), attempt=2**31 - 1,
        fallback_from="\\N", endpoint="NULL", prompt_hash="h",
    ),
    LlmEvent(type="llm.call", time=T0, source="only what must be"),
    TradeEvent(
        type="trade.gate", time=T0, source="bot", decision_time=T0, label_cutoff_time=T0,
        gate_passed=False, quantity=0.1 + 0.2, price=Decimal("-1.5"),
        market=Market(volatility_1h=1e-300, trend_30m=-0.0),
    ),
    EvolutionEvent(type="kpi.snapshot", time=T0, source="e", kpis={"a": 1 / 3, "b": -1e22}),
    GraphEvent(type="graph.state.update", time=T0, source="g", state_keys=["a", "", "c,d", 'e"']),
]  # fmt: skip


def from_postgres(settings: Settings, table: str) -> list[dict[str, Any]]:
    return query(settings, f"SELECT * FROM {table} ORDER BY source")


def from_parquet(settings: Settings, table: str) -> list[dict[str, Any]]:
    rows = DeltaTable(f"{settings.lake_location}/{table}").to_pyarrow_dataset().to_table()
    found = [row | _maps(row) for row in rows.to_pylist()]
    return sorted(found, key=lambda row: str(row["source"]))


def from_sqlite(settings: Settings, table: str) -> list[dict[str, Any]]:
    nested = ("attributes", "kpis", "market", "state_keys")
    with closing(sqlite3.connect(settings.sqlite_location)) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY source")]
    for row in rows:
        row |= {name: json.loads(row[name]) for name in nested if row.get(name) is not None}
        times = ("time", "decision_time", "label_cutoff_time")
        row |= {name: datetime.fromisoformat(row[name]) for name in times if row.get(name)}
    return rows


def _maps(row: dict[str, Any]) -> dict[str, Any]:
    return {name: dict(row[name]) for name in ("attributes", "kpis") if name in row}


def plain(row: dict[str, Any], record: Any) -> Any:
    values = {name: row[name] for name in record.model_fields}
    return record.from_avro(values)


@each_store
def test_every_field_comes_back_as_it_was_sent(settings: Settings, store: str) -> None:
    send(settings, EVERY_FIELD)
    with sinking(store, settings):
        for topic, rows in ((LLM, 2), ("events.trade", 1), ("events.evolution", 1)):
            wait_count(store, settings, rows, topic)
        wait_count(store, settings, 1, "events.graph")

    read = {"postgres": from_postgres, "parquet": from_parquet, "sqlite": from_sqlite}[store]
    for record in {type(event) for event in EVERY_FIELD}:
        stored = read(settings, record.kafka_topic.replace(".", "_"))
        sent = [event for event in EVERY_FIELD if type(event) is record]
        wanted = sorted(sent, key=lambda event: event.source)
        assert [plain(row, record) for row in stored] == wanted
        assert {(row["kafka_partition"], row["kafka_offset"]) for row in stored} == {
            (0, offset) for offset in range(len(sent))
        }


def test_the_lake_is_parquet_by_date_that_duckdb_reads(settings: Settings) -> None:
    send(settings, EVERY_FIELD[:2])
    with sinking("parquet", settings):
        wait_count("parquet", settings, 2)

    files = DeltaTable(table_location(settings, LLM)).file_uris()
    assert all("event_date=2026-01-02" in file for file in files)
    statement = f"SELECT attributes['k'], epoch_us(time) FROM read_parquet({files})"
    with duckdb.connect() as connection:
        rows = connection.execute(statement).fetchall()
    assert (EVERY_FIELD[0].attributes["k"], int(T0.timestamp()) * 10**6 + 678901) in rows


def test_columns_that_are_no_plain_value_say_their_unit(settings: Settings) -> None:
    with sinking("postgres", settings, topics=[LLM]):
        rows = query(
            settings,
            "SELECT attname, col_description(attrelid, attnum) AS about FROM pg_attribute"
            " WHERE attrelid = 'events_llm'::regclass",
        )
    comments = {row["attname"]: row["about"] for row in rows}
    assert "nano-dollars" in comments["cost"]
    assert "microseconds" in comments["duration"]


@each_store
def test_a_corrupt_message_becomes_a_dead_letter_and_the_rest_lands(
    settings: Settings, store: str
) -> None:
    calls(settings, 5, partition=1)
    produce(settings, LLM, [b"garbage"], partition=1, key=b"k", headers=[("h", b"1")])
    calls(settings, 5, partition=1)
    with sinking(store, settings) as sink:
        wait_count(store, settings, 10)
        labels = {"sink": store, "topic": settings.topic_prefix + LLM, "reason": "framing"}
        assert sink.samples()["nilo_dead_letters_total", frozenset(labels.items())] == 1
    with sinking(store, settings):
        calls(settings, 1, partition=1)
        wait_count(store, settings, 11)

    [letter] = read_topic(settings, f"dlq.{LLM}")
    headers = dict(letter.headers())
    assert (letter.key(), letter.value(), headers["h"]) == (b"k", b"garbage", b"1")
    assert headers["__connect.errors.topic"].decode() == settings.topic_prefix + LLM
    assert headers["__connect.errors.partition"] == b"1"
    assert headers["__connect.errors.offset"] == b"5"
    assert headers["__connect.errors.connector.name"].decode() == store
    assert headers["x-nilo-error-code"] == b"framing"
