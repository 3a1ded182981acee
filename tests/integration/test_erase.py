"""`nilo erase`: a subject leaves every store with real servers, and the ledger stays clean."""

from __future__ import annotations

import json
import random
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not so marked
    AdminClient,
    AlterConfigOpType,  # pyright: ignore[reportPrivateImportUsage]  # as above
    ConfigEntry,  # pyright: ignore[reportPrivateImportUsage]  # as above
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]  # as above
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]  # as above
)

from nilo_consumers.audit.reconcile import reconcile
from nilo_consumers.erase import hot, run
from nilo_consumers.tiers.run import alone
from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import encode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.integration.programs import nilo, wait_for
from tests.integration.sinking import COUNT, LLM, SINK, produce, query, send, sinking, wait_count
from tests.integration.storing import llm_batch, maintained, noon, storing, window_batch
from tests.integration.windows import read_topic
from tests.killing import killed_until_done

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("events.llm", "events.debate", "metrics.windows", "alerts"),
]
THEIRS = 'Zoë O\'Brien; -- 100% "_" \\ 🦉'
STORES = ("postgres", "parquet", "sqlite")
DAYS = (0, -2, -20, -300)
WINDOWS = MetricWindow.kafka_topic


def events(number: int, subject: str | None, *days: int) -> list[LlmEvent]:
    """So many events of a subject on each day."""
    return [
        LlmEvent(type="llm.call", source="test", subject=subject, session_id="s", time=noon(day))
        for day in days or (0,)
        for _ in range(number)
    ]


def stored(settings: Settings, rows: int, stores: tuple[str, ...] = STORES) -> None:
    for store in stores:
        with sinking(store, settings, topics=[LLM]):
            wait_count(store, settings, rows)


@pytest.fixture
def landed(settings: Settings, tmp_path: Path) -> Settings:
    """Four of the subject's events and eight others on each of four days, in three stores."""
    both = [*events(4, THEIRS, *DAYS), *events(4, THEIRS[:-1], *DAYS), *events(4, None, *DAYS)]
    random.Random(1).shuffle(both)
    send(settings, both)
    stored(settings, 48)
    days = {"hot_days": 3, "warm_days": 10, "cold_days": 1000}
    return settings.model_copy(update=days | {"archive": tmp_path / "archive"})


@pytest.fixture
def direct(own: Settings, tmp_path: Path) -> Settings:
    """Two of the subject's events and one of another in each store, written without Kafka."""
    batches = [
        llm_batch(own, [noon()] * 2, subject=THEIRS),
        llm_batch(own, [noon()], start=2, subject=THEIRS[:-1]),
    ]
    for name in STORES:
        sink = SINK[name](own)
        sink.connect([(own.topic_prefix + LLM, 0)])
        for batch in batches:
            sink.write(batch)
        sink.close()
    return own.model_copy(update={"archive": tmp_path / "archive"})


def ran(settings: Settings, *words: str, subject: str = THEIRS) -> tuple[int, dict[str, Any], str]:
    """Exit code, receipt and errors of `nilo erase …`."""
    done = nilo(settings, "erase", *words, "--subject", subject, "--json")
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def found(receipt: dict[str, Any], topic: str = LLM) -> dict[str, int]:
    """The rows of a topic by place; of the lake those of its newest version."""
    lines = [each for each in receipt["lines"] if each["topic"] == topic]
    return {each["place"]: each["rows"] for each in reversed(lines)}


def audited(settings: Settings) -> tuple[bool, dict[str, int]]:
    """Whether `nilo audit reconcile` is clean, and the erased offsets of each store."""
    ledger = reconcile(settings, [LLM], stores=STORES, checksums=True)
    erased: dict[str, int] = dict.fromkeys(STORES, 0)
    for line in ledger.entries:
        erased[line.store] += line.absent.get("erased", 0)
    return ledger.clean, erased


def theirs_in_postgres(settings: Settings) -> int:
    asked = "SELECT count(*) AS rows FROM events_llm WHERE subject = %s"
    return int(query(settings, asked, THEIRS)[0]["rows"])


def test_a_subject_leaves_every_store_and_the_ledger_is_clean(
    landed: Settings, tmp_path: Path
) -> None:
    """Its days are in PostgreSQL, SQLite, the lake and the archive; the receipt is a file too."""
    assert nilo(landed, "tiers", "run", "--yes", "--topic", LLM).returncode == 0
    asked = nilo(landed, "erase", "--subject", THEIRS)
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    wanted = {"postgres": 8, "sqlite": 16, "parquet": 8, "archive": 8}
    code, counted, _ = ran(landed, "--dry-run", "--no-scan")
    assert (code, counted["erasure"]) == (0, None)
    assert {place: rows for place, rows in found(counted).items() if rows} == wanted
    out = tmp_path / "receipt.json"
    code, receipt, errors = ran(landed, "--yes", "--out", str(out))

    assert (code, errors) == (0, "")
    assert found(receipt) == wanted | {"kafka": 16}
    assert receipt["complete"]
    assert json.loads(out.read_text()) == receipt
    assert "🦉" not in out.read_text()
    log = Path(landed.lake_location).rglob("_delta_log/*")
    assert not [path for path in log if "🦉".encode() in path.read_bytes()]
    assert audited(landed) == (True, {"postgres": 8, "sqlite": 16, "parquet": 16})
    code, left, _ = ran(landed, "verify", "--no-scan")
    assert (code, sum(rows or 0 for rows in found(left).values())) == (0, 0)
    assert (COUNT["postgres"](landed, LLM), COUNT["sqlite"](landed, LLM)) == (16, 32)
    assert nilo(landed, "tiers", "run", "--yes", "--topic", LLM).returncode == 0
    assert audited(landed)[0]


def test_postgres_keeps_neither_statistics_nor_dead_rows_nor_a_view_of_the_subject(
    landed: Settings,
) -> None:
    """And its windows, those grouped by the subject, go with it."""
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    windows = [
        MetricWindow(
            metric="pipeline.lag", unit="s", window="1m", window_start=start,
            window_end=start + timedelta(minutes=1), dimensions=labels, count=1, errors=0, rate=1.0,
            error_ratio=0.0, final=True, revision=1, watermark=start, sources=[],
        )
        for labels in ({"subject": THEIRS}, {"subject": THEIRS[:-1]}, {"model": THEIRS})
    ]  # fmt: skip
    with storing(landed, WINDOWS) as sink:
        sink.write(window_batch(landed, windows))
    maintained(landed)
    query(landed, "ANALYZE events_llm")
    named = (
        "SELECT tablename FROM pg_stats WHERE schemaname = %s AND attname = 'subject'"
        " AND strpos(concat(most_common_vals::text, histogram_bounds::text), '🦉') > 0"
    )
    assert query(landed, named, landed.database_schema)
    assert len(query(landed, "SELECT * FROM windows_newest")) == 3
    code, receipt, _ = ran(landed, "--yes", "--no-scan")

    assert code == 0
    assert found(receipt, WINDOWS)["postgres"] == 1
    assert query(landed, named, landed.database_schema) == []
    kept = query(landed, "SELECT dimensions FROM windows_newest ORDER BY dimensions::text")
    assert [row["dimensions"] for row in kept] == [{"model": THEIRS}, {"subject": THEIRS[:-1]}]
    (session,) = query(landed, "SELECT events FROM llm_sessions WHERE session_id = 's'")
    assert session["events"] == 16
    touched = query(landed, "SELECT DISTINCT stored_in AS name FROM erased_offsets")
    vacuumed = "SELECT relname AS name FROM pg_stat_all_tables WHERE schemaname = %s AND"
    done = query(landed, f"{vacuumed} last_vacuum IS NOT NULL", landed.database_schema)
    names = {row["name"] for row in done}
    assert {row["name"] for row in touched} | {"windows_newest", "llm_sessions"} <= names


def test_sinks_write_on_meanwhile_and_what_comes_later_is_found(settings: Settings) -> None:
    """Others lose nothing; the subject's later events are told, and go with the next run."""
    stop, sent = threading.Event(), [0]
    registry = Registry(settings)
    schema_id = registry.schema_id(LlmEvent)
    values = [encode(event, schema_id) for event in (*events(1, THEIRS), *events(4, "agent-7"))]

    def keep_sending() -> None:
        while not stop.is_set():
            produce(settings, LLM, values)
            sent[0] += 1

    sender = threading.Thread(target=keep_sending)
    with (
        sinking("postgres", settings, topics=[LLM]),
        sinking("parquet", settings, topics=[LLM]),
        sinking("sqlite", settings, topics=[LLM]),
    ):
        sender.start()
        try:
            codes = [ran(settings, "--yes", "--no-scan")[0] for _ in range(3)]
        finally:
            stop.set()
            sender.join()
        produce(settings, LLM, values)
        sent[0] += 1
        for store in STORES:
            wait_until_read(settings, store)
        code, held, errors = ran(settings, "verify", "--no-scan")
        assert (code, "run `nilo erase` again" in errors) == (1, True)
        assert all(held_in >= 1 for held_in in found(held).values() if held_in is not None)
        codes.append(ran(settings, "--yes", "--no-scan")[0])

    assert codes == [0, 0, 0, 0]
    assert ran(settings, "verify", "--no-scan")[0] == 0
    for store in STORES:
        assert COUNT[store](settings, LLM, distinct=True) == 4 * sent[0]
    assert audited(settings) == (True, dict.fromkeys(STORES, sent[0]))


def wait_until_read(settings: Settings, store: str) -> None:
    def is_there() -> bool:
        lines = run.count(settings, THEIRS, run.Scope(scan=False)).stored
        return 0 in [each.behind for each in lines if (each.place, each.topic) == (store, LLM)]

    wait_for(f"{store} at the end", is_there)


def test_runs_that_are_killed_are_finished_by_the_next_and_the_ledger_stays_clean(
    landed: Settings,
) -> None:
    nilo(landed, "tiers", "run", "--yes", "--topic", LLM)
    words = ["-m", "nilo_cli", "erase", "--yes", "--no-scan", "--subject", THEIRS]
    for told_by in killed_until_done(words, landed.environment(), least=1.0):
        assert audited(landed)[0], told_by

    assert audited(landed) == (True, {"postgres": 8, "sqlite": 16, "parquet": 16})
    assert ran(landed, "verify", "--no-scan")[0] == 0
    assert (COUNT["postgres"](landed, LLM), COUNT["sqlite"](landed, LLM)) == (16, 32)


def test_what_a_run_has_left_uncleaned_in_postgres_is_told_and_done_by_the_next(
    direct: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended between the deletion and the vacuum."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(hot._Store, "clean", killed)
        with pytest.raises(KeyboardInterrupt):
            run.erase(direct, THEIRS)
    assert theirs_in_postgres(direct) == 0
    code, _, errors = ran(direct, "verify", "--no-scan")
    assert (code, "dead rows" in errors) == (1, True)
    assert ran(direct, "--yes", "--no-scan")[0] == 0

    assert ran(direct, "verify", "--no-scan")[0] == 0
    assert query(direct, "SELECT FROM erased_offsets WHERE cleaned_at IS NULL") == []


def test_a_place_that_is_not_reached_is_told_and_the_others_are_done(direct: Settings) -> None:
    away = direct.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:9/none"})
    code, receipt, errors = ran(away, "--yes", "--no-scan")

    assert (code, receipt["complete"]) == (1, False)
    assert [line["place"] for line in receipt["lines"] if line["left"]] == ["postgres"]
    assert "postgres" in errors
    assert {place: rows for place, rows in found(receipt).items() if rows} == {
        "sqlite": 2,
        "parquet": 2,
    }
    assert theirs_in_postgres(direct) == 2
    assert ran(direct, "verify", "--no-scan")[0] == 1
    code, receipt, _ = ran(direct, "--yes", "--no-scan")
    assert (code, found(receipt)["postgres"]) == (0, 2)


@pytest.mark.topics
def test_kafka_is_looked_through_and_its_dates_are_told(settings: Settings) -> None:
    """Events, dead letters that decode and such that do not; a topic that is compacted."""
    schema_id = Registry(settings).schema_id(LlmEvent)
    mine, other = (encode(events(1, each)[0], schema_id) for each in (THEIRS, "agent-7"))
    before = datetime.now(UTC)
    produce(settings, LLM, [mine, other, mine], key=THEIRS.encode(), partition=1)
    produce(settings, LLM, [other] * 3, key=b"agent-7", partition=1)
    produce(settings, LLM, [mine, other], key=THEIRS.encode(), partition=2)
    produce(settings, f"dlq.{LLM}", [mine, other, THEIRS.encode() + b"\0", b"broken"], partition=0)
    code, receipt, _ = ran(settings, "--yes")

    assert code == 0
    told = {line["topic"]: line for line in receipt["lines"] if line["place"] == "kafka"}
    assert (told[LLM]["rows"], told[f"dlq.{LLM}"]["rows"]) == (3, 2)
    kept = datetime.fromisoformat(told[LLM]["until"]) - before
    assert timedelta(days=14) <= kept <= timedelta(days=14, minutes=10)
    assert told["events.debate"]["rows"] == 0
    assert told["metrics.partials"]["rows"] is None
    assert told["metrics.partials"]["until"]
    assert not [each for each in read_topic(settings, LLM) if each.value() is None]

    compact(settings, LLM)
    code, receipt, _ = ran(settings, "--yes")
    told = {line["topic"]: line for line in receipt["lines"] if line["place"] == "kafka"}
    assert (code, told[LLM]["rows"], told[LLM]["until"]) == (0, 3, None)
    assert "partitions 1" in told[LLM]["note"]
    tombs = [each for each in read_topic(settings, LLM) if each.value() is None]
    assert [(each.key(), each.partition()) for each in tombs] == [(THEIRS.encode(), 1)]


def compact(settings: Settings, topic: str) -> None:
    admin = AdminClient(kafka_config(settings))
    entry = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    name = settings.topic_prefix + topic
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    for job in admin.incremental_alter_configs([resource]).values():
        job.result()


def test_wrong_usage_is_said_before_anything_is_touched(direct: Settings) -> None:
    for words in (["--yes"], ["--yes", "--subject", ""], ["--subject", THEIRS, "verify"]):
        assert nilo(direct, "erase", *words).returncode == 2
    with alone(direct):
        code, _, errors = ran(direct, "--yes", "--no-scan")
    assert (code, "another" in errors) == (1, True)
    assert theirs_in_postgres(direct) == 2
    assert query(direct, "SELECT FROM erased_offsets") == []
