"""Rows that a store has passed without them are added once, beside a sink that goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from nilo_consumers import count_parquet, count_sqlite
from nilo_consumers.batch import ORIGIN, Batch, Span
from nilo_consumers.delta import DeltaSink
from nilo_consumers.dlq.adding import add
from nilo_consumers.dlq.standing import Standing, standings
from nilo_consumers.errors import StoreUnavailableError
from nilo_consumers.sqlite import SqliteSink
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.rows import batch_of

LLM = "events.llm"
PLACES = [(0, 2), (0, 4), (0, 6), (0, 99), (3, 0)]
COUNT: dict[str, Callable[..., int]] = {"sqlite": count_sqlite, "parquet": count_parquet}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, lake=str(tmp_path / "lake"))


def rows(*offsets: int) -> pa.Table:
    row = {"type": "llm.call", "time": datetime(2026, 1, 2, tzinfo=UTC), "sample_rate": 1}
    found = batch_of(LLM, [row] * len(offsets))
    origin = [pa.array([0] * len(offsets), pa.int32()), pa.array(offsets, pa.int64())]
    schema = pa.schema([*arrow_schema(LlmEvent), *ORIGIN])
    return pa.Table.from_arrays([*found.columns, *origin], schema=schema)


def passed(settings: Settings, store: str) -> SqliteSink | DeltaSink:
    """A sink that has passed ten offsets, five of them without a row."""
    sink = SqliteSink(settings) if store == "sqlite" else DeltaSink(settings)
    sink.connect([(LLM, 0)])
    sink.write(Batch(LLM, rows(0, 1, 3, 5, 7), {0: Span(0, 10)}))
    return sink


@pytest.mark.parametrize("store", list(COUNT))
def test_what_is_missing_is_added_and_what_is_there_is_not(settings: Settings, store: str) -> None:
    sink = passed(settings, store)
    before = standings(settings, LLM, PLACES)[store]
    assert before == {
        (0, 2): Standing.PASSED, (0, 4): Standing.PASSED,
        (0, 6): Standing.PASSED, (0, 99): Standing.BEHIND, (3, 0): Standing.BEHIND,
    }  # fmt: skip

    assert add(settings, store, LLM, rows(2, 3, 4)) == {}
    assert add(settings, store, LLM, rows(4, 2, 6, 7)) == {}
    after = standings(settings, LLM, PLACES)[store]
    assert [after[0, offset] for offset in (2, 4, 6, 99)] == [*[Standing.HAS] * 3, Standing.BEHIND]
    sink.write(Batch(LLM, rows(10, 11), {0: Span(10, 12)}))
    assert COUNT[store](settings, LLM) == 5 + 3 + 2
    assert not any(each for name, each in standings(settings, LLM, PLACES).items() if name != store)


def test_a_row_that_the_store_refuses_still_is_told_and_the_others_are_added(
    settings: Settings,
) -> None:
    passed(settings, "sqlite").close()
    with closing(sqlite3.connect(settings.sqlite_location, isolation_level=None)) as file:
        file.execute(
            "CREATE TRIGGER no BEFORE INSERT ON events_llm WHEN NEW.kafka_offset = 4"
            " BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
    [(place, why)] = add(settings, "sqlite", LLM, rows(2, 4, 6)).items()
    assert place == (0, 4)
    assert "not this one" in why
    assert count_sqlite(settings, LLM) == 5 + 2


def test_of_two_commits_to_the_lake_at_once_only_one_adds(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed(settings, "parquet")
    commit = DeltaSink._commit

    def late(self: DeltaSink, *given: object) -> int:
        monkeypatch.setattr(DeltaSink, "_commit", commit)
        assert add(settings, "parquet", LLM, rows(2)) == {}
        return commit(self, *given)  # type: ignore[arg-type]  # as they were given

    monkeypatch.setattr(DeltaSink, "_commit", late)
    with pytest.raises(StoreUnavailableError):
        add(settings, "parquet", LLM, rows(2))
    assert count_parquet(settings, LLM) == 6
