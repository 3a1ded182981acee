"""The files of the lake: what a reader may skip, few files made of many, old ones removed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from nilo_consumers import count_parquet
from nilo_consumers.lake import table_location
from nilo_schemas.codec import encode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.integration.programs import nilo, wait_for
from tests.integration.sinking import LLM, produce, send, sinking, wait_count

pytestmark = [pytest.mark.integration, pytest.mark.topics("events.llm")]
DAYS = 3


def event(number: int) -> LlmEvent:
    return LlmEvent(
        type="llm.call",
        source="test",
        subject=f"agent-{number}",
        session_id=f"run-{number}",
        time=datetime(2026, 1, 1 + number % DAYS, tzinfo=UTC),
    )


def files(settings: Settings) -> list[dict[str, Any]]:
    """The files of the newest version, with what the log says of them."""
    table = DeltaTable(table_location(settings, LLM))
    actions: list[dict[str, Any]] = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return actions


def parquet_files(settings: Settings) -> set[Path]:
    return set(Path(table_location(settings, LLM)).rglob("*.parquet")) - set(
        Path(table_location(settings, LLM), "_delta_log").rglob("*.parquet")
    )


def without(uri: str, column: str, value: str) -> list[bool]:
    """Whether the Bloom filter of each row group says that a value is not there."""
    question = "SELECT bloom_filter_excludes FROM parquet_bloom_probe(?, ?, ?)"
    with duckdb.connect() as connection:
        rows = connection.execute(question, [uri, column, value]).fetchall()
    return [found for (found,) in rows]


def test_a_reader_finds_in_the_log_and_in_the_files_what_it_need_not_read(
    settings: Settings,
) -> None:
    send(settings, map(event, range(30)), partition=2)
    with sinking("parquet", settings, topics=[LLM]):
        wait_count("parquet", settings, 30)

    for file in files(settings):
        assert file["min.kafka_partition"] == file["max.kafka_partition"] == 2
        assert file["min.kafka_offset"] <= file["max.kafka_offset"] < 30
        assert file["min.time"].date() == file["partition.event_date"]
    uris = DeltaTable(table_location(settings, LLM)).file_uris()
    for column, there in (("subject", "agent-7"), ("session_id", "run-7")):
        holding = [uri for uri in uris if not all(without(uri, column, there))]
        assert any("event_date=2026-01-02" in uri for uri in holding)
        assert all(without(uri, column, "nobody") == [True] for uri in uris)


def test_a_table_of_an_earlier_version_gets_the_statistics(settings: Settings) -> None:
    with sinking("parquet", settings, topics=[LLM]):
        pass
    name, table = "delta.dataSkippingStatsColumns", DeltaTable(table_location(settings, LLM))
    table.alter.set_table_properties({name: "id"})
    with sinking("parquet", settings, topics=[LLM]):
        pass

    table.update_incremental()
    assert "kafka_offset" in table.metadata().configuration[name].split(",")


def test_many_files_become_few_while_a_sink_writes_and_the_old_ones_go_later(
    settings: Settings,
) -> None:
    """Rows, offsets and Bloom filters stay; what another reader may need stays until vacuum."""
    with sinking("parquet", settings, topics=[LLM]):
        for number in range(4):
            send(settings, [event(day + number * DAYS) for day in range(DAYS)])
            wait_count("parquet", settings, (number + 1) * DAYS)
        before = parquet_files(settings)
        done = nilo(settings, "lake", "compact", "--topic", LLM, "--json")
        send(settings, [event(100)])
        wait_count("parquet", settings, 4 * DAYS + 1)

    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["topic"], told["files_before"], told["files"]) == (LLM, len(before), DAYS)
    assert told["rewritten_bytes"] > 0
    assert len(files(settings)) == DAYS + 1
    assert before < parquet_files(settings)
    uris = DeltaTable(table_location(settings, LLM)).file_uris()
    assert all(without(uri, "subject", "nobody") == [True] for uri in uris)

    asked = nilo(settings, "lake", "vacuum", "--keep-days", "0")
    kept = nilo(settings, "lake", "vacuum", "--dry-run")
    would = nilo(settings, "lake", "vacuum", "--keep-days", "0", "--dry-run")
    assert (asked.returncode, kept.stdout) == (2, "")
    assert "--yes" in asked.stderr
    assert before < parquet_files(settings)
    gone = nilo(settings, "lake", "vacuum", "--keep-days", "0", "--yes")
    assert gone.stdout == would.stdout
    assert len(gone.stdout.splitlines()) == len(before)
    assert not before & parquet_files(settings)
    with sinking("parquet", settings, topics=[LLM]):
        send(settings, [event(101)])
        wait_count("parquet", settings, 4 * DAYS + 2)
    assert count_parquet(settings, LLM, distinct=True) == 4 * DAYS + 2


def test_large_rows_are_written_before_there_are_many(settings: Settings) -> None:
    """72 megabytes of labels: with an hour to wait, and few rows, size alone is a reason."""
    patient = settings.model_copy(update={"lake_seconds": 3600.0, "lake_rows": 1_000_000})
    large = LlmEvent(type="llm.call", source="test", attributes={"text": "x" * 900_000})
    value = encode(large, Registry(settings).schema_id(LlmEvent))
    with sinking("parquet", patient, topics=[LLM]):
        produce(settings, LLM, [value] * 80)
        wait_for("some rows", lambda: count_parquet(settings, LLM) > 0)


def test_a_topic_that_is_not_there_is_wrong_usage(settings: Settings) -> None:
    done = nilo(settings, "lake", "compact", "--topic", "events.nothing")
    assert done.returncode == 2
    assert "events.nothing" in done.stderr
