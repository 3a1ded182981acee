"""`nilo audit reconcile`: clean when all is there, and what was planted is found."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from nilo_consumers.audit.reconcile import digest
from nilo_consumers.lake import table_location
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.integration.programs import free_port, nilo, running, wait_for
from tests.integration.sinking import LLM, calls, produce, query, send, sinking, wait_count
from tests.integration.windows import newest_windows

pytestmark = [pytest.mark.integration, pytest.mark.topics("events.llm")]
STORES = ("postgres", "parquet", "sqlite")


def audited(settings: Settings, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and certificate."""
    done = nilo(settings, "audit", "reconcile", "--json", *words)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def landed(settings: Settings) -> None:
    """400 events in each store, and one message that is none."""
    calls(settings, 200)
    produce(settings, LLM, [b"garbage"], partition=1)
    calls(settings, 200)
    for store in STORES:
        with sinking(store, settings, topics=[LLM]):
            wait_count(store, settings, 400)


def faults(certificate: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """By store and partition, what is wrong with it."""
    found = {}
    for line in certificate["entries"]:
        wrong = {name: line[name] for name in ("missing", "doubled", "beyond") if line[name]}
        if wrong:
            found[line["store"], line["partition"]] = wrong
    return found


def test_a_certificate_when_every_message_has_its_place(settings: Settings) -> None:
    landed(settings)
    calls(settings, 4)
    produce(settings, f"dlq.{LLM}", [b"somebody else's"], headers=[("x", None)])
    code, certificate = audited(settings, "--topic", LLM)

    assert (code, certificate["clean"], certificate["rows"]) == (0, True, 1200)
    assert certificate["digest"] == digest(certificate)
    assert digest(certificate | {"rows": 1199}) != certificate["digest"]
    for line in certificate["entries"]:
        dead = line["partition"] == 1
        assert line["rows"] == 100
        assert (line["first_offset"], line["next_offset"]) == (0, 101 if dead else 100)
        assert line["absent"] == ({"framing": 1} if dead else {})
        assert line["behind"] == 1


def lose_a_row(settings: Settings) -> None:
    query(settings, "DELETE FROM events_llm WHERE kafka_partition = 2 AND kafka_offset = 17")


def double_a_row(settings: Settings) -> None:
    """At another time, so that no key minds."""
    columns = [row["name"] for row in query(
        settings,
        "SELECT attname AS name FROM pg_attribute"
        " WHERE attrelid = 'events_llm'::regclass AND attnum > 0 AND attname <> 'time'",
    )]  # fmt: skip
    names = ", ".join(columns)
    query(settings, "ALTER TABLE events_llm DROP CONSTRAINT IF EXISTS events_llm_pkey")
    query(
        settings,
        f"INSERT INTO events_llm (time, {names}) SELECT time + interval '1 ms', {names}"
        " FROM events_llm WHERE kafka_partition = 0 AND kafka_offset = 99",
    )


def lose_and_double_in_sqlite(settings: Settings) -> None:
    with closing(sqlite3.connect(settings.sqlite_location, isolation_level=None)) as file:
        file.execute("DELETE FROM events_llm WHERE kafka_partition = 1 AND kafka_offset >= 99")
        # The key minds a double, so the table is made anew without one.
        file.execute("CREATE TABLE copied AS SELECT * FROM events_llm")
        file.execute("DROP TABLE events_llm")
        file.execute("ALTER TABLE copied RENAME TO events_llm")
        file.execute(
            "INSERT INTO events_llm SELECT * FROM events_llm"
            " WHERE kafka_partition = 3 AND kafka_offset = 0"
        )


def deny_rows(settings: Settings) -> None:
    query(settings, "UPDATE sink_offsets SET next_offset = 98 WHERE partition = 3")


def lose_a_row_of_the_lake(settings: Settings) -> None:
    lake(settings).delete("kafka_partition = 2 AND kafka_offset = 17")


def double_a_row_of_the_lake(settings: Settings) -> None:
    table = lake(settings)
    wanted = (pc.field("kafka_partition") == 0) & (pc.field("kafka_offset") == 99)
    write_deltalake(table, table.to_pyarrow_dataset().to_table(filter=wanted), mode="append")


def lake(settings: Settings) -> DeltaTable:
    return DeltaTable(table_location(settings, LLM))


def test_what_was_planted_is_found(settings: Settings) -> None:
    """A row that is gone, one that is there twice, and one that the store's offsets deny."""
    landed(settings)
    for plant in (
        lose_a_row,
        double_a_row,
        deny_rows,
        lose_a_row_of_the_lake,
        lose_and_double_in_sqlite,
    ):
        plant(settings)
    double_a_row_of_the_lake(settings)
    code, certificate = audited(settings, "--topic", LLM)

    assert (code, certificate["clean"]) == (1, False)
    assert faults(certificate) == {
        ("postgres", 2): {"missing": [[17, 17]]},
        ("postgres", 0): {"doubled": [[99, 99]]},
        ("postgres", 3): {"beyond": [[98, 99]]},
        ("parquet", 2): {"missing": [[17, 17]]},
        ("parquet", 0): {"doubled": [[99, 99]]},
        ("sqlite", 1): {"missing": [[99, 100]]},
        ("sqlite", 3): {"doubled": [[0, 0]]},
    }


def test_a_lost_file_of_the_lake_is_found_with_its_rows(settings: Settings) -> None:
    landed(settings)
    calls(settings, 40)
    with sinking("parquet", settings, topics=[LLM]):
        wait_count("parquet", settings, 440)
    newest = max(lake(settings).file_uris(), key=lambda uri: Path(uri).stat().st_mtime)
    Path(newest).unlink()
    done = nilo(settings, "audit", "reconcile", "--topic", LLM, "--store", "parquet")

    certificate = json.loads(done.stdout)
    assert done.returncode == 1
    assert [Path(path).name for path in certificate["lost_files"]] == [Path(newest).name]
    assert Path(newest).name in done.stderr
    starts = {number: 101 if number == 1 else 100 for number in range(4)}
    assert faults(certificate) == {
        ("parquet", number): {"missing": [[start, start + 9]]} for number, start in starts.items()
    }


def test_a_part_of_the_time_is_audited_alone(settings: Settings) -> None:
    """What is wrong before `--from` is not told, nor what came later than `--to`."""
    landed(settings)
    lose_a_row(settings)
    begin = datetime.now(UTC)
    calls(settings, 40)
    with sinking("postgres", settings, topics=[LLM]):
        wait_count("postgres", settings, 439)
    words = ("--topic", LLM, "--store", "postgres")

    code, certificate = audited(settings, *words, "--from", begin.isoformat())
    assert (code, certificate["rows"]) == (0, 40)
    code, certificate = audited(settings, *words, "--to", begin.isoformat())
    assert (code, certificate["rows"]) == (1, 399)
    assert audited(settings, *words, "--to", "1h")[1]["rows"] == 0


@pytest.mark.topics
def test_windows_that_are_no_rows_have_a_reason(settings: Settings, tmp_path: Path) -> None:
    """Provisional ones, and what a killed worker's successor publishes again."""

    def emit(first: int) -> None:
        start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=first)
        send(settings, [
            LlmEvent(type="llm.call", source="test", model="m", time=start + timedelta(seconds=n))
            for n in range(30)
        ])  # fmt: skip

    def finals() -> int:
        return sum(window.final for window in newest_windows(settings).values())

    log = tmp_path / "process.log"
    for round_ in (0, 1):
        emit(60 * round_)
        with running(settings, "process", "--metrics-port", free_port(), log=log) as worker:
            before = finals()
            wait_for("final windows", lambda: finals() > before)  # noqa: B023  used at once
            worker.send_signal(signal.SIGKILL)
            worker.wait()
    with sinking("postgres", settings), sinking("parquet", settings):

        def clean() -> dict[str, Any] | None:
            certificate = audited(settings)[1]
            behind = any(line["behind"] for line in certificate["entries"])
            return None if behind else certificate

        certificate = wait_for("all is stored", clean)

    assert faults(certificate) == {}
    windows = [one for one in certificate["entries"] if one["topic"] == "metrics.windows"]
    assert sum(line["rows"] for line in windows) > 0
    assert sum(line["absent"]["provisional"] for line in windows) > 0


def test_a_store_that_is_not_there_is_wrong_usage(settings: Settings) -> None:
    done = nilo(settings, "audit", "reconcile", "--store", "excel")
    assert done.returncode == 2
    assert "excel" in done.stderr
