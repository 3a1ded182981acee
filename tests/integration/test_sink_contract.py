"""One contract for every store: what the runner of the sinks relies on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from nilo_consumers import (
    StoreMovedError,
    StoreRefusedError,
    StoreUnavailableError,
    count_parquet,
    delta,
)
from nilo_consumers.batch import ORIGIN, Batch, Span
from nilo_consumers.delta import DeltaSink
from nilo_consumers.lake import table_location
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.integration.sinking import (
    COUNT,
    LLM,
    SINK,
    change_sqlite,
    each_store,
    query,
)

pytestmark = [pytest.mark.integration, pytest.mark.topics("events.llm")]
T0 = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def batch(settings: Settings, start: int, end: int, *, partition: int = 0) -> Batch:
    """Rows with the offsets [start, end) of one partition."""
    event = LlmEvent(type="llm.call", source="direct", time=T0).to_avro()
    row = event | {"attributes": [], "severity": "INFO"}
    rows = [row | {"kafka_partition": partition, "kafka_offset": n} for n in range(start, end)]
    schema = pa.schema([*arrow_schema(LlmEvent), *ORIGIN])
    topic = settings.topic_prefix + LLM
    return Batch(topic, pa.Table.from_pylist(rows, schema), {partition: Span(start, end)})


@each_store
class TestContract:
    """What the runner relies on."""

    def sink(self, store: str, settings: Settings) -> tuple[Any, dict[Any, int]]:
        sink = SINK[store](settings)
        offsets = sink.connect([(settings.topic_prefix + LLM, n) for n in range(2)])
        return sink, dict(offsets)

    def test_a_batch_twice_is_stored_once(self, store: str, settings: Settings) -> None:
        sink, offsets = self.sink(store, settings)
        written = [sink.write(batch(settings, 0, 10)) for _ in range(2)]
        sink.close()

        assert offsets == {}
        assert written == [10, 0]
        assert COUNT[store](settings, LLM) == 10
        assert self.sink(store, settings)[1] == {(settings.topic_prefix + LLM, 0): 10}

    def test_of_two_writers_of_a_partition_one_wins(self, store: str, settings: Settings) -> None:
        first, second = self.sink(store, settings)[0], self.sink(store, settings)[0]
        assert first.write(batch(settings, 0, 10)) == 10
        assert second.write(batch(settings, 0, 15)) == 5
        assert COUNT[store](settings, LLM, distinct=True) == COUNT[store](settings, LLM) == 15

    def test_a_store_set_back_under_a_running_sink_is_seen(
        self, store: str, settings: Settings
    ) -> None:
        sink, _ = self.sink(store, settings)
        sink.write(batch(settings, 0, 5))
        with pytest.raises(StoreMovedError, match="set back"):
            sink.write(batch(settings, 9, 12))
        assert COUNT[store](settings, LLM) == 5

    def test_a_column_that_a_newer_contract_has_is_added(
        self, store: str, settings: Settings
    ) -> None:
        if store == "postgres":
            self.sink(store, settings)[0].close()
            query(settings, "ALTER TABLE events_llm DROP COLUMN prompt_hash")
        elif store == "sqlite":
            self.sink(store, settings)[0].close()
            change_sqlite(settings, "ALTER TABLE events_llm DROP COLUMN prompt_hash")
        else:
            rows = batch(settings, 0, 0).rows.drop_columns(["prompt_hash"])
            schema = rows.schema.append(pa.field("event_date", pa.date32(), False))
            location = table_location(settings, LLM)
            DeltaTable.create(location, schema, partition_by=["event_date"])
        sink, _ = self.sink(store, settings)
        assert sink.write(batch(settings, 0, 3)) == 3
        sink.close()

    def test_rows_that_do_not_fit_are_a_terminal_error(
        self, store: str, settings: Settings
    ) -> None:
        """A required column without a value: refused, and not half stored."""
        sink, _ = self.sink(store, settings)
        good = batch(settings, 0, 2)
        index = good.rows.column_names.index("source")
        nothing = pa.nulls(2, pa.string())
        bad = good.rows.set_column(index, pa.field("source", pa.string()), nothing)
        with pytest.raises(StoreRefusedError):
            sink.write(Batch(good.topic, bad, good.spans))
        assert COUNT[store](settings, LLM) == 0


def test_two_lake_writers_at_the_same_moment_store_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have read the offsets before either commits: the later commit fails and is told so."""
    topic = settings.topic_prefix + LLM
    first, second = DeltaSink(settings), DeltaSink(settings)
    for sink in (first, second):
        sink.connect([(topic, 0)])
    commit = deltalake.write_deltalake

    def overtaken(*arguments: Any, **more: Any) -> None:
        monkeypatch.setattr(delta, "write_deltalake", commit)
        second.write(batch(settings, 0, 10))
        commit(*arguments, **more)

    monkeypatch.setattr(delta, "write_deltalake", overtaken)
    with pytest.raises(StoreUnavailableError):
        first.write(batch(settings, 0, 10))
    assert first.write(batch(settings, 0, 10)) == 0
    assert count_parquet(settings, LLM) == 10
