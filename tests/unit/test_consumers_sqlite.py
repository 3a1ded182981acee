"""The SQLite sink on a file of its own: what is in it, and what becomes of each fault."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from nilo_consumers import (
    StoreMovedError,
    StoreRefusedError,
    StoreUnavailableError,
    count_sqlite,
    sqlite_file,
    windows_sqlite,
)
from nilo_consumers.batch import ORIGIN, Batch, Span
from nilo_consumers.sqlite import SqliteSink
from nilo_consumers.sqlite_tables import create_table, sqlite_type
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.contracts import records
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.rows import batch_of

LLM = "events.llm"
T0 = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def file(settings: Settings) -> Path:
    return settings.sqlite_location


def batch(start: int, end: int, *, partition: int = 0, prefix: str = "") -> Batch:
    """Rows with the offsets [start, end) of one partition."""
    row = {"type": "llm.call", "time": T0, "cost": 2_000_000, "sample_rate": 1}
    rows = batch_of(LLM, [row] * (end - start))
    origin = [pa.array([partition] * (end - start), pa.int32()), pa.array(range(start, end))]
    schema = pa.schema([*arrow_schema(LlmEvent), *ORIGIN])
    table = pa.Table.from_arrays([*rows.columns, *origin], schema=schema)
    return Batch(prefix + LLM, table, {partition: Span(start, end)})


def connected(settings: Settings) -> SqliteSink:
    sink = SqliteSink(settings)
    sink.connect([(settings.topic_prefix + LLM, number) for number in range(4)])
    return sink


@pytest.fixture
def sink(settings: Settings) -> Iterator[SqliteSink]:
    sink = connected(settings)
    yield sink
    sink.close()


def select(file: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("topic", records())
def test_every_record_has_a_strict_table_that_sqlite_takes(topic: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in create_table(records()[topic]):
            connection.execute(statement)
        [[strict]] = connection.execute(
            "SELECT strict FROM pragma_table_list WHERE schema='main' AND name NOT LIKE 'sqlite_%'"
        )
    assert strict == 1


def test_the_schema_says_what_the_units_are() -> None:
    create = next(create_table(LlmEvent))
    assert '"cost" INTEGER, -- nano-dollars' in create
    assert '"kafka_offset" INTEGER NOT NULL,' in create
    assert 'PRIMARY KEY ("kafka_partition", "kafka_offset")' in create


def test_a_type_without_a_column_is_an_error() -> None:
    with pytest.raises(TypeError, match="date32"):
        sqlite_type(pa.date32())


def test_times_are_text_that_sqlites_own_functions_understand(sink: SqliteSink, file: Path) -> None:
    sink.write(batch(0, 1))
    query = (
        "SELECT time, datetime(time), time < datetime('now', '+100 years'), time > datetime(time)"
        " FROM events_llm"
    )
    assert select(file, query) == [("2026-01-02 03:04:05.678901Z", "2026-01-02 03:04:05", 1, 1)]


def test_a_time_is_found_by_its_index(sink: SqliteSink, file: Path) -> None:
    sink.write(batch(0, 1))
    [(*_, plan)] = select(file, "EXPLAIN QUERY PLAN SELECT * FROM events_llm WHERE time > '2026'")
    assert "events_llm_time" in str(plan)


def test_after_a_stop_all_is_in_the_one_file(settings: Settings, file: Path) -> None:
    sink = connected(settings)
    sink.write(batch(0, 10))
    sink.close()
    assert [each.name for each in file.parent.glob("nilo.db*")] == ["nilo.db"]


def test_every_commit_is_on_disk_before_write_returns(sink: SqliteSink) -> None:
    """A power cut cannot be had here: SQLite documents that WAL with FULL survives it."""
    connection = sink._connected()
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_full_disk_is_transient_and_loses_nothing(sink: SqliteSink, settings: Settings) -> None:
    """SQLite's own limit stands for the disk: the error is the one that a full disk makes."""
    sink.write(batch(0, 10))
    [pages] = sink._connected().execute("PRAGMA page_count").fetchone()
    sink._connected().execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreUnavailableError, match=r"full; make room there"):
        sink.write(batch(10, 10_000))
    assert count_sqlite(settings, LLM) == 10

    assert sink.connect([(LLM, 0)]) == {(LLM, 0): 10}
    assert sink.write(batch(0, 10_000)) == 9_990


def test_a_file_locked_by_another_program_is_transient(
    sink: SqliteSink, file: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_LIMIT", 0.1)
    sink.connect([(LLM, 0)])
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailableError, match="keeps it locked"):
            sink.write(batch(0, 10))
        other.execute("ROLLBACK")

    assert sink.write(batch(0, 10)) == 10


def test_a_file_that_may_not_be_written_is_terminal(sink: SqliteSink, file: Path) -> None:
    """Rights do not stop root, so the connection itself is one that may only read."""
    with (
        closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection,
        pytest.raises(StoreRefusedError, match="make it writable or choose another"),
        sqlite_file.translated(file, "writing"),
    ):
        connection.execute("DELETE FROM sink_offsets")


def test_a_file_of_another_program_is_refused_and_left_alone(
    settings: Settings, file: Path
) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    before = file.read_bytes()
    with pytest.raises(StoreRefusedError, match=r"tables of another program.*--sqlite-file"):
        connected(settings)
    with pytest.raises(StoreRefusedError, match="tables of another program"):
        count_sqlite(settings, LLM)
    assert file.read_bytes() == before


@pytest.mark.parametrize("what", ["no database", "folder", "torn"])
def test_what_is_no_database_is_terminal(settings: Settings, file: Path, what: str) -> None:
    if what == "folder":
        file.mkdir()
    elif what == "no database":
        file.write_bytes(b"Dear diary, " * 1000)
    else:
        sink = connected(settings)
        sink.write(batch(0, 1000))
        sink.close()
        whole = file.read_bytes()
        file.write_bytes(whole[:100] + bytes(len(whole) - 100))
    with pytest.raises(StoreRefusedError, match=r"nilo\.db fails"):
        connected(settings).write(batch(0, 10))


@pytest.mark.parametrize("way", ["removed", "replaced"])
def test_a_file_that_goes_under_a_running_sink_is_seen(
    sink: SqliteSink, settings: Settings, file: Path, way: str
) -> None:
    """Else the sink would write into a file that nobody can find any more."""
    sink.write(batch(0, 10))
    if way == "removed":
        file.unlink()
    else:
        (file.parent / "new").touch()
        (file.parent / "new").replace(file)
    with pytest.raises(StoreMovedError, match="removed or replaced"):
        sink.write(batch(10, 20))

    again = connected(settings)
    assert again.write(batch(0, 20)) == 20
    again.close()


def test_two_installations_in_one_file_are_refused(settings: Settings, sink: SqliteSink) -> None:
    sink.write(batch(0, 10))
    other = connected(settings.model_copy(update={"topic_prefix": "other."}))
    with pytest.raises(StoreMovedError, match="another installation"):
        other.write(batch(5, 8, prefix="other."))
    other.close()
    assert count_sqlite(settings, LLM) == 10


def connected_at_last(settings: Settings) -> SqliteSink:
    """Tried again while another is making the file, as the runner does."""
    while True:
        with suppress(StoreUnavailableError):
            return connected(settings)


def at_once(work: Callable[[int], object]) -> None:
    """Call it with 0, 1, 2 and 3 in four threads at the same moment; raise what one raises."""
    together = threading.Barrier(4)

    def started(number: int) -> None:
        together.wait()
        work(number)

    with ThreadPoolExecutor(4) as threads:
        for _ in threads.map(started, range(4)):
            pass


def test_nobody_who_opens_a_new_file_takes_it_for_a_stranger_s(tmp_path: Path) -> None:
    for number in range(50):
        settings = Settings(home=tmp_path / str(number))

        def work(_: int, settings: Settings = settings) -> None:
            assert count_sqlite(settings, LLM) == 0
            connected_at_last(settings).close()

        at_once(work)


def test_four_writers_take_turns(settings: Settings) -> None:
    """A partition each, as fast as they can: nobody gives up, every row once."""

    def work(partition: int) -> None:
        with closing(connected_at_last(settings)) as sink:
            for start in range(0, 2000, 100):
                assert sink.write(batch(start, start + 100, partition=partition)) == 100

    at_once(work)
    assert count_sqlite(settings, LLM) == count_sqlite(settings, LLM, distinct=True) == 8000


def test_events_are_counted_within_ranges(sink: SqliteSink, settings: Settings) -> None:
    sink.write(batch(0, 10))
    sink.write(batch(0, 10, partition=1))
    assert count_sqlite(settings, LLM, ranges={0: (2, 5), 1: (9, 20)}) == 4
    assert count_sqlite(settings, LLM, ranges={}) == 0


def test_nothing_is_read_where_there_is_no_file(settings: Settings, file: Path) -> None:
    assert count_sqlite(settings, LLM) == 0
    assert windows_sqlite(settings, "x", since=T0 - timedelta(1)) == []
    assert not file.exists()
