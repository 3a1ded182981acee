"""The sinks against real servers: nothing lost, nothing twice, values as they were sent."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import psycopg
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from nilo_consumers import (
    StoreMovedError,
    StoreRefusedError,
    StoreUnavailableError,
    count_parquet,
    count_postgres,
    delta,
    windows_parquet,
    windows_postgres,
)
from nilo_consumers.batch import ORIGIN, Batch, Span
from nilo_consumers.delta import DeltaSink, table_location
from nilo_consumers.postgres import PostgresSink
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.clients import kafka_config
from nilo_schemas.envelope import Severity
from nilo_schemas.families import EvolutionEvent, GraphEvent, LlmEvent, Market, TradeEvent
from nilo_schemas.results import Histogram, MetricWindow, SourceRange
from nilo_schemas.settings import Settings
from tests.integration.programs import running, wait_for
from tests.integration.sinking import calls, get, produce, query, send, sinking
from tests.integration.windows import read_topic

pytestmark = pytest.mark.integration
LLM = "events.llm"
COUNT: dict[str, Callable[..., int]] = {"postgres": count_postgres, "parquet": count_parquet}
both_stores = pytest.mark.parametrize("store", ["postgres", "parquet"])
T0 = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def wait_count(store: str, settings: Settings, rows: int, topic: str = LLM) -> None:
    wait_for(f"{rows} rows in {store}", lambda: COUNT[store](settings, topic) >= rows)
    assert COUNT[store](settings, topic) == rows
    assert COUNT[store](settings, topic, distinct=True) == rows


def window(revision: int = 0, *, final: bool = True, **more: Any) -> MetricWindow:
    values: dict[str, Any] = {
        "metric": "llm.duration",
        "unit": "seconds",
        "window": "1m",
        "window_start": T0.replace(second=0, microsecond=0),
        "window_end": T0.replace(second=0, microsecond=0) + timedelta(minutes=1),
        "dimensions": {"provider": "p", "model": 'm "x"\\'},
        "count": 10 + revision,
        "errors": 1,
        "sum": 0.1 + 0.2,
        "min": None,
        "max": 1e300,
        "mean": 1 / 3,
        "rate": 10 / 60,
        "error_ratio": 0.1,
        "quantiles": {"p50": 0.1 + 0.7, "p95": 5e-324},
        "histogram": Histogram(scale=5, zero=1, negative=0, indexes=[-3, 4], counts=[2, 7]),
        "final": final,
        "revision": revision,
        "watermark": T0,
        "sources": [SourceRange(topic=LLM, partition=1, first_offset=5, last_offset=9)],
    }
    return MetricWindow(**(values | more))


# What comes out is what went in

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


def _maps(row: dict[str, Any]) -> dict[str, Any]:
    return {name: dict(row[name]) for name in ("attributes", "kpis") if name in row}


def plain(row: dict[str, Any], record: Any) -> Any:
    values = {name: row[name] for name in record.model_fields}
    return record.from_avro(values)


@both_stores
def test_every_field_comes_back_as_it_was_sent(settings: Settings, store: str) -> None:
    send(settings, EVERY_FIELD)
    with sinking(store, settings):
        for topic, rows in ((LLM, 2), ("events.trade", 1), ("events.evolution", 1)):
            wait_count(store, settings, rows, topic)
        wait_count(store, settings, 1, "events.graph")

    read = from_postgres if store == "postgres" else from_parquet
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


# Dead letters


@both_stores
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


# Offsets are the store's


def group_offset(settings: Settings, store: str, offset: int) -> None:
    part = TopicPartition(settings.topic_prefix + LLM, 0, offset)
    group = f"{settings.topic_prefix}nilo-sink-{store}"
    admin = AdminClient(kafka_config(settings))
    for future in admin.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group, [part])]
    ).values():
        future.result(30)


def committed(settings: Settings, store: str) -> int:
    group = f"{settings.topic_prefix}nilo-sink-{store}"
    consumer = Consumer(kafka_config(settings, group_id=group))
    [part] = consumer.committed([TopicPartition(settings.topic_prefix + LLM, 0)], timeout=10)
    consumer.close()
    return int(part.offset)


@both_stores
def test_a_restart_resumes_from_the_store_whatever_the_group_says(
    settings: Settings, store: str
) -> None:
    calls(settings, 20, partition=0)
    with sinking(store, settings, topics=[LLM]):
        wait_count(store, settings, 20)
    assert committed(settings, store) == 20
    for group_says, rows in ((0, 30), (35, 40)):
        group_offset(settings, store, group_says)
        calls(settings, 10, partition=0)
        with sinking(store, settings, topics=[LLM]):
            wait_count(store, settings, rows)
    group = f"{settings.topic_prefix}nilo-sink-{store}"
    admin = AdminClient(kafka_config(settings))
    admin.delete_consumer_groups([group])[group].result(30)
    calls(settings, 10, partition=0)
    with sinking(store, settings, topics=[LLM]):
        wait_count(store, settings, 50)


@both_stores
def test_what_is_held_is_written_at_a_stop(
    settings: Settings, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a policy that would hold rows for an hour, a stop still writes them."""
    sink_class = PostgresSink if store == "postgres" else DeltaSink
    patient = type(sink_class.policy)(rows=1_000_000, seconds=3600)
    monkeypatch.setattr(sink_class, "policy", patient)
    calls(settings, 100)
    with sinking(store, settings, topics=[LLM]) as sink:
        wait_for("all read", lambda: sink.total("nilo_consumed_events_total") == 100)
        assert COUNT[store](settings, LLM) == 0

    assert COUNT[store](settings, LLM) == 100


def test_a_topic_made_anew_is_refused(settings: Settings) -> None:
    calls(settings, 3, partition=0)
    with sinking("postgres", settings, topics=[LLM]):
        wait_count("postgres", settings, 3)
    query(settings, "UPDATE sink_offsets SET next_offset = 99 WHERE partition = 0")

    with (
        pytest.raises(StoreMovedError, match="made anew"),
        sinking("postgres", settings, topics=[LLM]),
    ):
        pass


# One contract, every store


def batch(settings: Settings, start: int, end: int, *, partition: int = 0) -> Batch:
    """Rows with the offsets [start, end) of one partition."""
    event = LlmEvent(type="llm.call", source="direct", time=T0).to_avro()
    row = event | {"attributes": [], "severity": "INFO"}
    rows = [row | {"kafka_partition": partition, "kafka_offset": n} for n in range(start, end)]
    schema = pa.schema([*arrow_schema(LlmEvent), *ORIGIN])
    topic = settings.topic_prefix + LLM
    return Batch(topic, pa.Table.from_pylist(rows, schema), {partition: Span(start, end)})


@pytest.fixture(params=["postgres", "parquet"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestContract:
    """What the runner relies on."""

    def sink(self, store: str, settings: Settings) -> tuple[Any, dict[Any, int]]:
        sink = PostgresSink(settings) if store == "postgres" else DeltaSink(settings)
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

    def test_a_batch_without_rows_moves_the_offsets(self, store: str, settings: Settings) -> None:
        sink, _ = self.sink(store, settings)
        empty = batch(settings, 0, 0)
        assert sink.write(Batch(empty.topic, empty.rows, {1: Span(0, 7)})) == 0
        assert self.sink(store, settings)[1] == {(settings.topic_prefix + LLM, 1): 7}

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


# Failures


def fail_once(error: Exception, work: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    """`work`, which the first time raises before or after it is done."""
    failed: list[bool] = []

    def once(*arguments: Any, **more: Any) -> Any:
        if failed:
            return work(*arguments, **more)
        failed.append(True)
        if after:
            work(*arguments, **more)
        raise error

    return once


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "answer lost"])
def test_a_failed_transaction_leaves_nothing_and_the_next_try_all(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """`_move_offsets` is the last step before the commit; `write` returns after it."""
    error = psycopg.OperationalError("gone") if not after else StoreUnavailableError("gone")
    name = "write" if after else "_move_offsets"
    seen: list[int] = []
    connect = PostgresSink.connect

    def counted(self: PostgresSink, parts: Any) -> Any:
        seen.append(count_postgres(settings, LLM))
        return connect(self, parts)

    work = fail_once(error, getattr(PostgresSink, name), after=after)
    monkeypatch.setattr(PostgresSink, name, work)
    monkeypatch.setattr(PostgresSink, "connect", counted)
    calls(settings, 50, partition=0)
    with sinking("postgres", settings, topics=[LLM]):
        wait_for("second try", lambda: len(seen) > 1)
        wait_count("postgres", settings, 50)

    assert (seen[1] > 0) is after


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "answer lost"])
def test_a_failed_commit_of_the_lake_is_repeated_without_doubles(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    work = fail_once(OSError("gone"), deltalake.write_deltalake, after=after)
    monkeypatch.setattr(delta, "write_deltalake", work)
    calls(settings, 50)
    with sinking("parquet", settings, topics=[LLM]):
        wait_count("parquet", settings, 50)
        calls(settings, 50)
        wait_count("parquet", settings, 100)


def test_postgres_gone_for_a_while_loses_nothing(settings: Settings) -> None:
    """The sink's role may not log in and its connections are cut: it waits, in its group."""
    role = settings.database_schema + "_role"
    url = make_conninfo(settings.database(), user=role, password="x")
    own = settings.model_copy(update={"database_url": SecretStr(url)})
    query(settings, f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'x'")
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    try:
        with sinking("postgres", own, topics=[LLM]) as sink:
            calls(settings, 1000)
            wait_count("postgres", settings, 1000)
            query(settings, f"ALTER ROLE {role} NOLOGIN")
            query(settings, cut)
            calls(settings, 1000)
            wait_for("trouble is told", lambda: get(f"{sink.url}/health")[0] == 503)
            assert "PostgreSQL" in get(f"{sink.url}/health")[1]
            assert count_postgres(settings, LLM) == 1000
            query(settings, f"ALTER ROLE {role} LOGIN")
            wait_count("postgres", settings, 2000)
            wait_for("health", lambda: get(f"{sink.url}/health")[0] == 200)
            for _ in range(5):
                calls(settings, 1000)
                query(settings, cut)
            wait_count("postgres", settings, 7000)
    finally:
        query(settings, cut)
        query(settings, f"REASSIGN OWNED BY {role} TO CURRENT_USER")
        query(settings, f"DROP ROLE {role}")


@both_stores
def test_a_killed_sink_goes_on_where_its_store_ends(
    settings: Settings, store: str, tmp_path: Path
) -> None:
    """SIGKILL in the middle of a stream, twice: every event once."""
    calls(settings, 200_000)
    rows = 0
    for round_ in (1, 2):
        with running(settings, "sink", store, log=tmp_path / "log") as process:
            wait_for("more rows", lambda: COUNT[store](settings, LLM) > rows)  # noqa: B023  used at once
            process.send_signal(signal.SIGKILL)
            process.wait()
        rows = COUNT[store](settings, LLM)
        calls(settings, 50_000 * round_)

    with sinking(store, settings):
        wait_count(store, settings, 350_000)


@both_stores
def test_two_instances_share_the_partitions(settings: Settings, store: str) -> None:
    """One joins while the other works, then the first leaves: every event once, each has a part."""
    with ExitStack() as stack:
        with sinking(store, settings, topics=[LLM]) as first:
            calls(settings, 20_000)
            second = stack.enter_context(sinking(store, settings, topics=[LLM]))
            wait_count(store, settings, 20_000)
            calls(settings, 20_000)
            wait_count(store, settings, 40_000)
            assert second.total("nilo_stored_events_total") > 0
            assert first.total("nilo_stored_events_total") > 0
        calls(settings, 1000)
        wait_count(store, settings, 41_000)
        name = "kafka_consumergroup_lag"
        wait_for("all lag gone", lambda: [*_lags(second.samples(), name)] == [0.0] * 4)


def _lags(samples: dict[Any, float], name: str) -> list[float]:
    return [value for (found, _), value in samples.items() if found == name]


# Windows


@both_stores
def test_final_windows_are_kept_with_what_was_known_when(settings: Settings, store: str) -> None:
    read = {"postgres": windows_postgres, "parquet": windows_parquet}[store]
    other = window(dimensions={"provider": "q"})
    provisional = window(window="10s", final=False)
    first = window()
    send(settings, [provisional, first, other, first], partition=0)
    with sinking(store, settings):
        wait_for("first revision", lambda: len(read(settings, "llm.duration")) == 2)
        known = datetime.now(UTC)
        send(settings, [window(revision=1)], partition=0)
        wait_for("second", lambda: read(settings, "llm.duration")[0].revision == 1)

    newest = read(settings, "llm.duration", window="1m")
    assert len(newest) == 2
    assert all(each in newest for each in (window(revision=1), other))
    then = read(settings, "llm.duration", as_of=known, dimensions={"provider": "p"})
    assert then == [first]
    assert read(settings, "llm.duration", window="10s") == []
    assert read(settings, "llm.duration", until=first.window_start) == []
    assert len(read(settings, "llm.duration", since=first.window_start)) == 2


def test_counts_are_nought_where_there_is_no_table(settings: Settings) -> None:
    assert count_postgres(settings, LLM) == count_parquet(settings, LLM) == 0
    assert windows_postgres(settings, "x") == windows_parquet(settings, "x") == []
