"""A subject leaves the lake, its files and its log, and nothing else does."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from deltalake.exceptions import DeltaError
from hypothesis import given
from hypothesis import strategies as st

from nilo_consumers.batch import ORIGIN, STAMP, Batch, Span
from nilo_consumers.delta import DeltaSink
from nilo_consumers.erase import lake
from nilo_consumers.events import Selection, events_parquet
from nilo_consumers.lake import existing_table, literal, table_location, with_date
from nilo_consumers.lake_care import compact
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.erasing import (
    ALL,
    OTHERS,
    RUN_ID,
    THEIRS,
    counted,
    erased,
    filled,
    holds,
    named_in,
    rows_of,
    values,
    without_gaps,
)
from tests.tiering import LLM, NEW, OLD, PARTITIONS, in_archive, in_lake, moved, tiered
from tests.tiering import write as write_lake


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return tiered(tmp_path)


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
    holding = {uri for uri in before if holds(Path(uri))}
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
    list(lake.erase(settings, THEIRS, RUN_ID))
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
    dead = [path for path in set(settings.home.rglob("*.parquet")) - before if holds(path)]
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
        known = pa.schema([*arrow_schema(LlmEvent), *ORIGIN, STAMP])
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
    list(lake.erase(settings, THEIRS, RUN_ID))

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
