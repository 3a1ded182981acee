"""A subject leaves the stores together: windows, runs that end anywhere, the receipt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from nilo_consumers.audit.in_lake import InLake
from nilo_consumers.audit.in_tables import InSqlite
from nilo_consumers.audit.spans import union
from nilo_consumers.batch import ORIGIN, Batch, Span
from nilo_consumers.delta import DeltaSink
from nilo_consumers.erase import lake, run, sqlite
from nilo_consumers.erase.kafka import gone_by
from nilo_consumers.erase.receipt import KAFKA, Line, Receipt, with_behind
from nilo_consumers.lake import existing_table
from nilo_consumers.sqlite import SqliteSink
from nilo_consumers.tables import WINDOWS
from nilo_consumers.tiers import archive
from nilo_consumers.tiers.manifest import Manifest
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.erasing import (
    OTHERS,
    THEIRS,
    counted,
    erased,
    filled,
    named_in,
    rows_of,
    without_gaps,
    write_sqlite,
)
from tests.killing import killed_until_done
from tests.tiering import LLM, OLD, in_archive, in_lake, moved, tiered


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return tiered(tmp_path)


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
    filled(settings)
    moved(settings)
    write_sqlite(settings, rows_of(200, OLD, 0, 0))
    words = ["-c", _RUN, str(settings.home), THEIRS]
    for told_by in killed_until_done(words, least=0.05, ready=True):
        assert without_gaps(settings), told_by
        assert set(OTHERS) <= {*in_lake(settings), *in_archive(settings)}, told_by

    assert sorted(in_lake(settings) + in_archive(settings)) == OTHERS
    assert counted(settings) == 0
    assert named_in(settings.home) == []


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
