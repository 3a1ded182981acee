"""A subject leaves the SQLite file, and the bytes beside it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from nilo_consumers import StoreUnavailableError
from nilo_consumers.audit.in_tables import InSqlite
from nilo_consumers.audit.spans import union
from nilo_consumers.batch import Span
from nilo_consumers.erase import sqlite
from nilo_consumers.sqlite import SqliteSink
from nilo_schemas.settings import Settings
from tests.erasing import RUN_ID, THEIRS, named_in, rows_of, write_sqlite
from tests.tiering import LLM, OLD, tiered


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return tiered(tmp_path)


def test_the_bytes_of_the_subject_leave_the_sqlite_file_while_a_sink_has_it_open(
    settings: Settings,
) -> None:
    write_sqlite(settings, rows_of(500, OLD, 0, 0))
    sink, topic = SqliteSink(settings), settings.topic_prefix + LLM
    sink.connect([(topic, 0)])
    files = settings.sqlite_location.parent
    assert named_in(files)
    (line,) = sqlite.erase(settings, THEIRS, RUN_ID)

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
            list(sqlite.erase(settings, THEIRS, RUN_ID))
    left = [line.left for line in sqlite.count(settings, THEIRS) if line.left]
    list(sqlite.erase(settings, THEIRS, RUN_ID))

    assert len(left) == 1
    assert [line.left for line in sqlite.count(settings, THEIRS)] == [None]
    assert named_in(settings.sqlite_location.parent) == []
