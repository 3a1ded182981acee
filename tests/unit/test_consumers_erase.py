"""A subject leaves the lake, the archive and the SQLite file, and nothing else does. No servers."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from deltalake.exceptions import DeltaError
from hypothesis import given
from hypothesis import strategies as st

from nilo_consumers import StoreUnavailableError
from nilo_consumers.audit.in_lake import InLake
from nilo_consumers.audit.in_tables import InSqlite
from nilo_consumers.audit.spans import minus, union
from nilo_consumers.batch import ORIGIN, Batch, Span
from nilo_consumers.delta import DeltaSink
from nilo_consumers.erase import archive as cold
from nilo_consumers.erase import lake, run, sqlite
from nilo_consumers.erase.kafka import gone_by
from nilo_consumers.erase.receipt import KAFKA, Line, Receipt, with_behind
from nilo_consumers.events import Selection, events_parquet
from nilo_consumers.lake import existing_table, literal, table_location, with_date
from nilo_consumers.lake_care import compact
from nilo_consumers.sqlite import SqliteSink
from nilo_consumers.tables import WINDOWS
from nilo_consumers.tiers import archive
from nilo_consumers.tiers.manifest import Manifest
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.families import LlmEvent
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.tiering import LLM, NEW, OLD, PARTITIONS, in_archive, in_lake, moved
from tests.tiering import rows_of as rows_of_nobody
from tests.tiering import write as write_lake

_ID = UUID(int=7)
THEIRS = 'Zoë O\'Brien; -- 100% "_" \\ 🦉'
ALIKE = (THEIRS.lower(), THEIRS[:-1], THEIRS.replace("O'", "O''"), "%", "_", "", "' OR ''='")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Only the lake, the archive and the SQLite file; ten warm days, 100 cold ones."""
    return Settings(
        home=tmp_path, lake=str(tmp_path / "lake"), warm_days=10, cold_days=100, hot_days=5
    )


def rows_of(number: int, day: Any, partition: int, start: int) -> list[dict[str, Any]]:
    """Events of a day, each fifth of them the subject's, the others of such as look like it."""
    rows = rows_of_nobody(number, day, partition, start)
    for row in rows:
        at = row["kafka_offset"]
        row["subject"] = THEIRS if at % 5 == 0 else (*ALIKE, None, f"agent-{at}")[at % 9]
    return rows


def filled(settings: Settings) -> None:
    """Rows of two days in files of their own; those of NEW from offset 100 on are of others."""
    for partition in range(PARTITIONS):
        write_lake(settings, rows_of(40, OLD, partition, 0))
        write_lake(settings, rows_of(40, NEW, partition, 40))
        others = rows_of(20, NEW, partition, 80)
        write_lake(settings, [row | {"subject": "agent-7"} for row in others])


ALL = [(partition, offset) for partition in range(PARTITIONS) for offset in range(100)]
OTHERS = [(partition, offset) for partition, offset in ALL if offset >= 80 or offset % 5]


def erased(settings: Settings, subject: str = THEIRS) -> Receipt:
    """One run over the stores; there is no Kafka, which is told."""
    receipt = run.erase(settings, subject)
    assert [line.place for line in receipt.left] == [KAFKA], [line.left for line in receipt.left]
    return receipt


def counted(settings: Settings, subject: str = THEIRS) -> int:
    return sum(line.rows or 0 for line in run.count(settings, subject).stored)


def values(settings: Settings) -> list[dict[str, Any]]:
    """All rows of the lake by partition and offset."""
    table = existing_table(settings, LLM)
    assert table is not None
    rows = table.to_pyarrow_dataset().to_table()
    places = [("kafka_partition", "ascending"), ("kafka_offset", "ascending")]
    found: list[dict[str, Any]] = rows.sort_by(places).to_pylist()
    return found


def named_in(folder: Path) -> list[str]:
    """The files that have the subject's name in their bytes, or, of packed ones, in a value."""
    in_json = json.dumps(THEIRS, ensure_ascii=False)[1:-1]
    forms = [THEIRS, in_json, json.dumps(in_json, ensure_ascii=False)[1:-1]]
    found = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += repr(pq.read_table(path).to_pylist()).encode()
        if any(text.encode() in content for form in forms for text in (form, repr(form)[1:-1])):
            found.append(str(path.relative_to(folder)))
    return found


def _holds(path: Path) -> bool:
    table = pq.ParquetFile(path)
    return "subject" in table.schema_arrow.names and THEIRS in table.read()["subject"].to_pylist()


def without_gaps(settings: Settings) -> bool:
    """Whether rows and erased offsets of the lake together are all, none twice."""
    store = InLake(settings)
    held, gone = store.held(LLM, range(PARTITIONS)), store.erased(LLM)
    rows = {number: union(each.rows) for number, each in held.items()}
    return all(
        union([*rows[number], *minus(gone.get(number, []), rows[number])]) == [Span(0, 100)]
        for number in range(PARTITIONS)
    )


def test_the_rows_of_the_subject_go_and_all_others_stay_as_they_were(settings: Settings) -> None:
    filled(settings)
    before = [row for row in values(settings) if row["subject"] != THEIRS]
    assert counted(settings) == len(ALL) - len(OTHERS)
    receipt = erased(settings)

    assert sum(line.rows or 0 for line in receipt.stored) == len(ALL) - len(OTHERS)
    assert values(settings) == before
    assert sorted(in_lake(settings)) == OTHERS
    assert counted(settings) == 0
    assert without_gaps(settings)
    assert sum(line.rows or 0 for line in erased(settings).stored) == 0


def test_files_that_were_written_anew_are_read_by_subject_and_type(settings: Settings) -> None:
    filled(settings)
    erased(settings)
    like = "%"
    wanted = Selection(subjects=[like], types=["llm.call"])

    found = list(events_parquet(settings, LlmEvent, wanted))

    assert {row["subject"] for row in found} == {like}
    assert len(found) == sum(row["subject"] == like for row in values(settings)) > 0


def test_files_without_the_subject_keep_their_paths_and_the_others_are_gone(
    settings: Settings,
) -> None:
    filled(settings)
    table = existing_table(settings, LLM)
    assert table is not None
    before = set(table.file_uris())
    holding = {uri for uri in before if _holds(Path(uri))}
    (line,) = [each for each in erased(settings).lines if each.topic == LLM]
    table.update_incremental()

    assert 0 < len(holding) < len(before)
    assert before & set(table.file_uris()) == before - holding
    assert line.files == len(holding)
    on_disk = set(Path(table_location(settings, LLM)).rglob("event_date=*/*.parquet"))
    assert on_disk == {Path(uri) for uri in table.file_uris()}


def test_a_file_whose_bloom_filter_excludes_the_subject_is_not_read(settings: Settings) -> None:
    """Its statistics do not: the name lies between the least and the greatest."""
    filled(settings)
    ends = [
        row | {"subject": ("A", "zzz")[row["kafka_offset"] % 2]} for row in rows_of(2, NEW, 0, 100)
    ]
    write_lake(settings, ends)
    table = existing_table(settings, LLM)
    assert table is not None
    query = f"SELECT kafka_offset FROM kept WHERE subject = {literal('nobody')}"
    kept = QueryBuilder().register("kept", table)
    (row, *_) = pa.table(kept.execute(f"EXPLAIN ANALYZE {query}").read_all()).to_pylist()

    assert "row_groups_pruned_bloom_filter" in row["plan"]
    (told,) = [each for each in row["plan"].split(", ") if "pruned_bloom_filter" in each]
    total, matched = (int(part.split()[0]) for part in told.split("=")[1].split("→"))
    assert total >= 1
    assert matched == 0
    probe = "SELECT bloom_filter_excludes FROM parquet_bloom_probe(?, 'subject', 'nobody')"
    with duckdb.connect() as connection:
        found = [connection.execute(probe, [uri]).fetchall() for uri in table.file_uris()]
    assert all(excludes for rows in found for (excludes,) in rows)


def test_neither_the_lake_nor_its_log_nor_the_manifest_names_the_subject(
    settings: Settings,
) -> None:
    """Also not what compaction and the archive have left, and no checkpoint."""
    filled(settings)
    list(compact(settings, [LLM]))
    moved(settings)
    table = existing_table(settings, LLM)
    assert table is not None
    table.create_checkpoint()
    assert named_in(settings.home)
    erased(settings)
    table.update_incremental()
    table.create_checkpoint()

    assert named_in(settings.home) == []
    assert sorted(in_lake(settings) + in_archive(settings)) == OTHERS
    assert without_gaps(settings)


def test_files_that_are_no_table_s_any_more_are_found_and_go(settings: Settings) -> None:
    """Rows that left the lake by compaction or for the archive lie in its folder for a week."""
    filled(settings)
    moved(settings)
    (settings.archive_location / "events_llm").rename(settings.home / "elsewhere")
    _, *beside = lake.count(settings, THEIRS)

    assert [(each.rows, each.files) for each in beside] == [(8, 1)] * PARTITIONS
    list(lake.erase(settings, THEIRS, _ID))
    assert [each.rows for each in lake.count(settings, THEIRS)] == [0]


def test_a_file_that_a_sink_has_not_committed_yet_stays_until_it_never_can(
    settings: Settings,
) -> None:
    """Its rows lie behind the table's offsets; when these have passed them, it is a dead one's."""
    filled(settings)
    ahead = rows_of(10, NEW, 0, 100)
    other = settings.model_copy(update={"lake": str(settings.home / "other")})
    write_lake(other, ahead)
    (made,) = Path(table_location(other, LLM)).rglob("event_date=*/*.parquet")
    waiting = Path(table_location(settings, LLM), f"event_date={NEW}", made.name)
    made.rename(waiting)
    receipt = erased(settings)

    assert len([line for line in receipt.lines if waiting.name in line.note]) == 1
    assert waiting.exists()
    assert counted(settings) == 2
    write_lake(settings, ahead)
    erased(settings)
    assert not waiting.exists()
    assert counted(settings) == 0
    assert sorted(in_lake(settings)) == sorted(
        [*OTHERS, *((0, n) for n in range(100, 110) if n % 5)]
    )


def test_what_a_killed_writer_has_left_unfinished_goes_and_what_one_is_at_stays(
    settings: Settings,
) -> None:
    filled(settings)
    old, new = (
        Path(table_location(settings, LLM), f"event_date={NEW}", f"part.parquet#{number}")
        for number in (1, 2)
    )
    for path in (old, new):
        path.write_bytes(b"PAR1 torn")
    long_ago = (datetime.now(UTC) - timedelta(hours=1)).timestamp()
    os.utime(old, (long_ago, long_ago))
    told = [line.files for line in lake.count(settings, THEIRS) if line.left]
    erased(settings)

    assert told == [1]
    assert (old.exists(), new.exists()) == (False, True)
    assert not any(line.left for line in lake.count(settings, THEIRS))


def test_a_compaction_that_has_written_its_files_cannot_commit_what_was_erased(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So they may go: it is stopped before its commit, and fails behind the erasure."""
    filled(settings)
    late = existing_table(settings, LLM)
    assert late is not None
    before = set(settings.home.rglob("*.parquet"))
    with monkeypatch.context() as patched:  # the files that it reads are there still
        patched.setattr(lake._Lake, "clean", lambda _: [])
        erased(settings)
        with pytest.raises(DeltaError, match="concurrent"):
            late.optimize.compact()
    dead = [path for path in set(settings.home.rglob("*.parquet")) - before if _holds(path)]
    assert dead
    assert without_gaps(settings)
    erased(settings)

    assert named_in(settings.home) == []
    assert without_gaps(settings)


def test_commits_of_a_sink_between_looking_and_taking_out_cost_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append of the same day, and a compaction that rewrites the files that were found."""
    filled(settings)
    note, tries = lake._Lake._note, []
    take_out = lake._Lake._take_out

    def note_and_race(*arguments: Any) -> None:
        note(*arguments)
        if arguments[1] == NEW:
            write_lake(settings, rows_of(10, NEW, 0, 100))
            list(compact(settings, [LLM]))

    def counted_try(*arguments: Any) -> Any:
        tries.append(arguments[1])
        return take_out(*arguments)

    monkeypatch.setattr(lake._Lake, "_note", note_and_race)
    monkeypatch.setattr(lake._Lake, "_take_out", counted_try)
    first = erased(settings)
    assert tries.count(NEW) > tries.count(OLD)
    late = [(0, offset) for offset in range(100, 110)]
    assert sum(line.rows or 0 for line in first.stored) == len(ALL) - len(OTHERS)
    assert sorted(in_lake(settings)) == sorted([*OTHERS, *late])
    erased(settings)

    assert sorted(in_lake(settings)) == sorted([*OTHERS, *(p for p in late if p[1] % 5)])
    assert counted(settings) == 0


def test_the_log_of_an_earlier_version_is_rid_of_subjects_while_a_sink_goes_on(
    settings: Settings,
) -> None:
    """Its statistics have them, in commits and in checkpoints; all other statistics stay."""
    filled(settings)
    table = existing_table(settings, LLM)
    assert table is not None
    name = "delta.dataSkippingStatsColumns"
    table.alter.set_table_properties({name: table.metadata().configuration[name] + ",subject"})
    for start in (100, 140):
        rows = rows_of(40, NEW, 0, start)
        for row in rows:
            row["subject"] = THEIRS if row["subject"] == THEIRS else "agent-7"  # the greater one
        known = pa.schema([*arrow_schema(LlmEvent), *ORIGIN])
        write_deltalake(table, with_date(LLM, pa.Table.from_pylist(rows, known)), mode="append")
        table.create_checkpoint()
    sink, topic = DeltaSink(settings), settings.topic_prefix + LLM
    sink.connect([(topic, 1)])
    log = Path(table_location(settings, LLM), "_delta_log")
    assert {path.split("/")[-1].split(".", 1)[1] for path in named_in(log)} == {
        "json",
        "checkpoint.parquet",
    }
    before = pa.table(existing_actions(settings)).drop_columns(["modification_time"])
    assert any(line.left for line in lake.count(settings, THEIRS))
    list(lake.erase(settings, THEIRS, _ID))

    assert named_in(settings.home) == []
    assert not any(line.left for line in lake.count(settings, THEIRS))
    left = rows_of(20, OLD, 1, 100)
    sink.write(Batch(topic, pa.Table.from_pylist(left, known), {1: Span(100, 120)}))
    sink.close()
    after = existing_actions(settings)
    kept = set(before["path"].to_pylist()) & set(after["path"].to_pylist())
    for column in ("num_records", "min.kafka_offset", "max.time"):
        assert by_path(before, column, kept) == by_path(after, column, kept)
    assert sorted(in_lake(settings))[-1] == (1, 119)


def existing_actions(settings: Settings) -> pa.Table:
    """What the log says of the files of the newest version."""
    table = existing_table(settings, LLM)
    assert table is not None
    return pa.table(table.get_add_actions(flatten=True))


def by_path(actions: pa.Table, column: str, paths: set[str]) -> dict[str, Any]:
    pairs = zip(actions["path"].to_pylist(), actions[column].to_pylist(), strict=True)
    return {path: value for path, value in pairs if path in paths}


def test_files_of_the_archive_are_written_anew_and_stay_true(settings: Settings) -> None:
    filled(settings)
    moved(settings)
    (old,) = [each for each in Manifest(settings).entries(LLM) if each.tier == "cold"]
    list(cold.erase(settings, THEIRS))
    lines = [each for each in Manifest(settings).entries(LLM) if each.tier == "cold"]
    (new,) = [each for each in lines if not each.removed_at]
    (gone,) = [each for each in lines if each.removed_at]

    assert (gone.path, gone.reason, gone.rows + new.rows) == (old.path, "erased", old.rows)
    assert not (settings.archive_location / old.path).exists()
    assert sorted(in_archive(settings)) == [(p, o) for p, o in OTHERS if o < 40]
    lake_of = InLake(settings, checksums=True)
    lake_of.held(LLM, range(PARTITIONS))
    assert (lake_of.lost, lake_of.changed) == ([], [])
    assert moved(settings) == []


def test_a_damaged_file_of_the_archive_stays_and_the_others_are_done(settings: Settings) -> None:
    filled(settings)
    moved(settings, NEW + timedelta(days=30))
    files = [each for each in Manifest(settings).entries(LLM) if each.tier == "cold"]
    path = settings.archive_location / files[0].path
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    told = [line.left for line in cold.erase(settings, THEIRS) if line.left]
    path.write_bytes(whole)

    assert len(files) == 2
    assert len(told) == 1
    assert str(path) in (told[0] or "")
    (left,) = [line for line in cold.count(settings, THEIRS) if line.rows]
    assert left.files == 1
    list(cold.erase(settings, THEIRS))
    assert sorted(in_archive(settings)) == OTHERS


def test_what_a_killed_move_has_left_in_the_archive_goes_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wrote a file and ended before the manifest had it: the lake has these rows."""
    filled(settings)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            moved(settings)
    assert list(settings.archive_location.rglob("*.avro"))
    erased(settings)
    assert not list(settings.archive_location.rglob("*.avro"))
    moved(settings)

    assert sorted(in_lake(settings) + in_archive(settings)) == OTHERS
    assert named_in(settings.home) == []


def test_a_file_of_the_archive_whose_rows_are_nowhere_else_is_told_and_stays(
    settings: Settings,
) -> None:
    filled(settings)
    moved(settings)
    (one,) = settings.archive_location.rglob("*.avro")
    other = settings.model_copy(update={"lake": str(settings.home / "other")})
    told = [line.left for line in cold.erase(other, THEIRS) if line.left]

    assert one.exists()
    assert [str(one) in (each or "") for each in told] == [True]


def window_rows_of(settings: Settings) -> None:
    """Six windows in the lake: of the subject, of one like it, and of a metric without subjects."""
    start = datetime(2026, 6, 29, tzinfo=UTC)
    rows = [
        {
            "metric": "pipeline.lag", "unit": "s", "window": "1m", "rate": 1.0, "error_ratio": 0.0,
            "window_start": start, "window_end": start + timedelta(minutes=1), "watermark": start,
            "dimensions": list(labels.items()), "quantiles": [], "count": 1, "errors": 0,
            "final": True, "revision": offset, "sources": [],
            "kafka_partition": 0, "kafka_offset": offset,
        }
        for offset, labels in enumerate(
            [{"subject": THEIRS}, {"subject": THEIRS[:-1]}, {}, {"model": THEIRS},
             {"a": "b", "subject": THEIRS}, {"subject": "agent-7"}]
        )
    ]  # fmt: skip
    schema = pa.schema([*arrow_schema(MetricWindow), *ORIGIN])
    topic = settings.topic_prefix + WINDOWS
    batch = Batch(topic, pa.Table.from_pylist(rows, schema), {0: Span(0, 6)})
    for sink in (DeltaSink(settings), SqliteSink(settings)):
        sink.connect([(topic, 0)])
        sink.write(batch)
        sink.close()


def test_windows_that_are_grouped_by_the_subject_go_and_no_others(settings: Settings) -> None:
    window_rows_of(settings)
    assert counted(settings) == 4
    erased(settings)

    assert counted(settings) == 0
    table = existing_table(settings, WINDOWS)
    assert table is not None
    rows = table.to_pyarrow_dataset().to_table(columns=["kafka_offset"]).to_pylist()
    assert sorted(row["kafka_offset"] for row in rows) == [1, 2, 3, 5]
    gone = [Span(0, 1), Span(4, 5)]
    assert InLake(settings).erased(WINDOWS) == InSqlite(settings).erased(WINDOWS) == {0: gone}
    held = InSqlite(settings).held(WINDOWS, [0])[0]
    assert union(held.rows) == [Span(1, 4), Span(5, 6)]


def write_sqlite(settings: Settings, rows: list[dict[str, Any]]) -> None:
    """As the sink of the SQLite file writes a batch of one partition."""
    sink, topic = SqliteSink(settings), settings.topic_prefix + LLM
    sink.connect([(topic, 0)])
    table = pa.Table.from_pylist(rows, pa.schema([*arrow_schema(LlmEvent), *ORIGIN]))
    ends = rows[0]["kafka_offset"], rows[-1]["kafka_offset"] + 1
    sink.write(Batch(topic, table, {0: Span(*ends)}))
    sink.close()


def test_the_bytes_of_the_subject_leave_the_sqlite_file_while_a_sink_has_it_open(
    settings: Settings,
) -> None:
    write_sqlite(settings, rows_of(500, OLD, 0, 0))
    sink, topic = SqliteSink(settings), settings.topic_prefix + LLM
    sink.connect([(topic, 0)])
    files = settings.sqlite_location.parent
    assert named_in(files)
    (line,) = sqlite.erase(settings, THEIRS, _ID)

    assert line.rows == 100
    assert line.reached == {0: 500}
    assert named_in(files) == []
    sink.close()
    write_sqlite(settings, rows_of(1, OLD, 0, 500))
    store = InSqlite(settings)
    assert union(store.erased(LLM)[0]) == [Span(n, n + 1) for n in range(0, 500, 5)]
    with closing(sqlite3.connect(settings.sqlite_location)) as connection:
        assert connection.execute("SELECT count(*) FROM events_llm").fetchone() == (401,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_reader_that_keeps_the_log_of_the_sqlite_file_is_told_and_the_next_run_ends_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nilo_consumers.sqlite_file.BUSY_LIMIT", 0.2)
    write_sqlite(settings, rows_of(50, OLD, 0, 0))
    with closing(sqlite3.connect(settings.sqlite_location)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events_llm").fetchone()
        with pytest.raises(StoreUnavailableError):
            list(sqlite.erase(settings, THEIRS, _ID))
    left = [line.left for line in sqlite.count(settings, THEIRS) if line.left]
    list(sqlite.erase(settings, THEIRS, _ID))

    assert len(left) == 1
    assert [line.left for line in sqlite.count(settings, THEIRS)] == [None]
    assert named_in(settings.sqlite_location.parent) == []


@pytest.mark.parametrize(
    ("holder", "name"),
    [
        (lake._Lake, "_note"),
        (lake._Lake, "_take_out"),
        (DeltaTable, "vacuum"),
        (archive, "write"),
        (Manifest, "replace"),
        (sqlite, "_erase"),
        (sqlite, "_unclean"),
    ],
)
def test_a_run_that_ends_behind_any_step_is_finished_by_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, holder: Any, name: str
) -> None:
    """The ledger is clean in between, and nobody else has lost a row."""
    filled(settings)
    moved(settings)
    write_sqlite(settings, rows_of(50, OLD, 0, 0))
    step = getattr(holder, name)

    def ending(*arguments: Any, **more: Any) -> None:
        step(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(holder, name, ending)
        with pytest.raises(KeyboardInterrupt):
            run.erase(settings, THEIRS)
    assert without_gaps(settings)
    assert set(OTHERS) <= {*in_lake(settings), *in_archive(settings)}
    assert moved(settings) == []
    erased(settings)

    assert without_gaps(settings)
    assert sorted(in_lake(settings) + in_archive(settings)) == OTHERS
    assert counted(settings) == 0
    assert named_in(settings.home) == []
    held, gone = InSqlite(settings).held(LLM, [0])[0], InSqlite(settings).erased(LLM)[0]
    assert union([*held.rows, *gone]) == [Span(0, 50)]


_RUN = """
import sys
from pathlib import Path
from nilo_consumers.erase.run import Scope, erase
from nilo_schemas.settings import Settings
home = Path(sys.argv[1])
settings = Settings(home=home, lake=str(home / "lake"), warm_days=10, cold_days=100, hot_days=5,
                    kafka_bootstrap_servers="127.0.0.1:9")
print("go", flush=True)
receipt = erase(settings, sys.argv[2], Scope(tell=lambda place: place == "kafka" and sys.exit(0)))
"""


def test_runs_that_are_killed_lose_nothing_of_others_and_the_last_ends_it(
    settings: Settings,
) -> None:
    """SIGKILL at random moments, later each time, until one run has been through the stores."""
    seed = random.randrange(10**6)
    moments = random.Random(seed)
    filled(settings)
    moved(settings)
    write_sqlite(settings, rows_of(200, OLD, 0, 0))
    kills, ended, went = 0, False, 0.6
    while not ended:
        arguments = [sys.executable, "-c", _RUN, str(settings.home), THEIRS]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"go\n"
            try:
                ended = child.wait(moments.uniform(0, went)) == 0
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                kills, went = kills + 1, went * 1.5
        assert without_gaps(settings), f"seed {seed}"
        assert set(OTHERS) <= {*in_lake(settings), *in_archive(settings)}, f"seed {seed}"

    assert kills
    assert sorted(in_lake(settings) + in_archive(settings)) == OTHERS, f"seed {seed}"
    assert counted(settings) == 0
    assert named_in(settings.home) == [], f"seed {seed}"


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> DeltaTable:
    """A table of three subjects, the second of which each case gives a name of its own."""
    folder = str(tmp_path_factory.mktemp("odd"))
    write_deltalake(folder, pa.table({"subject": ["plain", "it's", None]}))
    return DeltaTable(folder)


@given(st.text(min_size=1))
def test_a_literal_of_the_lake_s_sql_means_its_text_and_no_other(
    odd: DeltaTable, text: str
) -> None:
    """Quotes, control characters, patterns, whatever: equal to itself, and to no row of others."""
    same = f"subject = {literal(text)} AS same"
    asked = f"SELECT {same}, {literal(text)} AS told FROM kept ORDER BY subject"
    found = pa.table(QueryBuilder().register("kept", odd).execute(asked).read_all())
    equal, told = (column.to_pylist() for column in found.columns)

    assert told == [text] * 3
    assert equal == [text == "it's", text == "plain", None]


def test_a_record_is_gone_when_its_segment_s_newest_is_past_its_time() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    day = str(24 * 60 * 60 * 1000)
    config = {
        "cleanup.policy": "delete", "retention.ms": day, "segment.ms": day,
        "file.delete.delay.ms": "60000",
    }  # fmt: skip

    assert gone_by(at, config) == at + timedelta(days=2, minutes=6)
    assert gone_by(at, config | {"retention.ms": "-1"}) is None
    assert gone_by(at, config | {"cleanup.policy": "compact"}) is None
    assert gone_by(at, config | {"retention.ms": str(2**63 - 1)}) is None
    assert gone_by(at, config | {"cleanup.policy": "compact,delete"}) is not None


def test_a_receipt_says_how_far_each_sink_is_behind_and_what_is_left() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    lines = with_behind(
        [
            Line("postgres", LLM, 3, reached={0: 10, 1: 5}),
            Line("archive", LLM, 1),
            Line("parquet", rows=None, left="no lake"),
            Line(KAFKA, LLM, 7, until=now),
        ],
        {LLM: {0: 12, 1: 5, 2: 4}},
    )
    told = Receipt("id", now, now, lines).as_json()

    assert [line.get("behind") for line in told["lines"]] == [6, None, None, None]
    assert told["complete"] is False
    assert told["lines"][3]["until"] == "2026-01-01T00:00:00+00:00"
    assert Receipt("id", now, now, lines).left == [lines[2]]
