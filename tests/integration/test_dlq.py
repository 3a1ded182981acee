"""`nilo dlq`: letters of events that nobody could read, or one store refused, sent again once.

One history for all tests: the processors and two sinks run, and meet events of a schema that the
registry does not know yet, one event that PostgreSQL refuses, and others that no fix helps. A third
store begins when all is sent again.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nilo_consumers.audit.in_kafka import InKafka
from nilo_consumers.lake import existing_table
from nilo_schemas.dead_letters import REDRIVEN_FROM
from nilo_schemas.settings import Settings
from tests.integration.programs import free_port, nilo, running, wait_for
from tests.integration.redriving import ANNOUNCED, NEVER, SENT, redrive_killed
from tests.integration.sinking import COUNT, LLM, query, sinking, wait_count
from tests.integration.unreadable import GOOD, LARGE, UNKNOWN, Newer, play
from tests.integration.windows import newest_windows, read_topic

pytestmark = pytest.mark.integration
READERS = ("processors", "postgres", "parquet")
STORES = READERS[1:]
PAGE = (Path(__file__).parents[2] / "docs" / "dlq.md").read_text()
Row = dict[str, Any]


@dataclass
class Told:
    """What the commands said, in the order of the history."""

    settings: Settings
    ids: list[str] = field(default_factory=list)
    listed: list[Row] = field(default_factory=list)
    shown: list[Row] = field(default_factory=list)
    unfixed: list[Row] = field(default_factory=list)
    codes: list[list[int]] = field(default_factory=list)
    after_kills: dict[str, Any] = field(default_factory=dict)
    second: list[Row] = field(default_factory=list)
    fixed: list[Row] = field(default_factory=list)
    last: list[Row] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    ledger: Row = field(default_factory=dict)
    fresh: Row = field(default_factory=dict)


def lines(settings: Settings, *words: str) -> list[Row]:
    """What `nilo dlq …` prints."""
    done = nilo(settings, "dlq", *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def counts(settings: Settings) -> dict[str, int]:
    """Rows in each store."""
    return {store: COUNT[store](settings, LLM) for store in STORES}


def counted(settings: Settings) -> int:
    """The events in the windows of a minute."""
    found = newest_windows(settings).values()
    return sum(one.count for one in found if (one.metric, one.window) == ("llm.calls", "1m"))


def tables(settings: Settings) -> dict[str, Any]:
    """All rows of all stores, by place and id."""
    columns = "kafka_partition, kafka_offset, id"
    lake = existing_table(settings, LLM)
    assert lake is not None
    in_lake = lake.to_pyarrow_dataset().to_table(["kafka_partition", "kafka_offset", "id"])
    return {
        "postgres": sorted(map(str, query(settings, f"SELECT {columns} FROM events_llm"))),
        "parquet": sorted(map(str, in_lake.to_pylist())),
        "counts": counts(settings),
    }


def ledger(settings: Settings, *words: str) -> Row:
    """What `nilo audit reconcile` says."""
    done = nilo(settings, "audit", "reconcile", "--topic", LLM, "--json", *words)
    found: Row = json.loads(done.stdout)
    return found


def by_outcome(rows: list[Row]) -> Counter[tuple[str, str, str]]:
    """The messages of each reason, outcome and store."""
    return Counter({(row["reason"], row["outcome"], row["into"]): row["origins"] for row in rows})


def letters(settings: Settings) -> Counter[tuple[str, str]]:
    """Messages by reader and reason."""
    with closing(InKafka(settings)) as kafka:
        found = kafka.dead_letters(LLM)
    return Counter(
        {why: sum(len(set(each)) for each in one.values()) for why, one in found.items()}
    )


@pytest.fixture(scope="module")
def told(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Told:
    settings = module_settings
    told, newer = Told(settings), Newer(settings)
    log = tmp_path_factory.mktemp("dlq") / "process.log"
    with ExitStack() as runs:
        for store in STORES:
            runs.enter_context(sinking(store, settings, topics=[LLM]))
        query(settings, "ALTER TABLE events_llm ADD CONSTRAINT no_poison CHECK (model <> 'poison')")
        runs.enter_context(running(settings, "process", "--metrics-port", free_port(), log=log))
        told.ids = play(settings, newer)
        history(settings, told, newer)
    begin_anew(settings, told)
    return told


def history(settings: Settings, told: Told, newer: Newer) -> None:
    stored = GOOD + 3  # poison, late, ahead
    wait_for("all letters", lambda: letters(settings).total() >= len(READERS) * (UNKNOWN + 1) + 3)
    wait_for("the rows", lambda: counts(settings) == {
        "postgres": stored - 1, "parquet": stored,
    })  # fmt: skip
    told.listed = lines(settings, "list", "--topic", LLM)
    told.shown = lines(settings, "show", "--reason", "unknown_schema", "-n", "1")
    told.unfixed = lines(settings, "redrive", "--yes", "--topic", LLM)

    newer.register()
    told.shown += lines(settings, "show", "--reason", "unknown_schema", "-n", "1")
    for moments in ([ANNOUNCED], [SENT], [NEVER, NEVER]):
        told.codes.append(redrive_killed(settings, LLM, moments))
    wait_for("the rows", lambda: counts(settings) == {
        "postgres": stored - 1 + UNKNOWN - 1,
        "parquet": stored + UNKNOWN,
    })  # fmt: skip
    wait_for("the letter of the second try", lambda: letters(settings)["postgres", "refused"] == 2)
    wait_for("the windows", lambda: counted(settings) >= GOOD + 1 + UNKNOWN)
    told.tables.append(tables(settings))
    told.second = lines(settings, "redrive", "--yes", "--topic", LLM)
    told.tables.append(tables(settings))

    query(settings, "ALTER TABLE events_llm DROP CONSTRAINT no_poison")
    told.fixed = lines(settings, "redrive", "--yes", "--connector", "postgres")
    told.tables.append(tables(settings))
    told.last = lines(settings, "redrive", "--yes")
    told.tables.append(tables(settings))
    told.ledger = ledger(settings)


def begin_anew(settings: Settings, told: Told) -> None:
    """Another store, from the beginning of the topic on."""
    rows = GOOD + 3 + UNKNOWN
    with sinking("sqlite", settings, topics=[LLM]):
        wait_count("sqlite", settings, rows)
    told.fresh = ledger(settings, "--store", "sqlite")


def test_letters_are_counted_by_reason_and_reader(told: Told) -> None:
    found = {(row["reason"], row["connector"]): row["origins"] for row in told.listed}
    assert found == {
        **{("unknown_schema", reader): UNKNOWN for reader in READERS},
        **{("framing", reader): 1 for reader in READERS},
        ("refused", "postgres"): 1,
        ("late", "processors"): 1,
        ("future", "processors"): 1,
        ("foreign", ""): 0,
    }
    assert {row["redriven"] for row in told.listed} == {0}


def test_a_letter_is_shown_with_what_can_be_read_of_it_now(told: Told) -> None:
    before, after = told.shown
    assert before["problem"].startswith("unknown_schema")
    assert (before["event"], before["key"]) == (None, "k")
    assert before["headers"] == [["traceparent", "00-ab"]]
    assert before["hex"].startswith("00 ")
    assert after["event"]["id"] in told.ids
    large = [
        row
        for row in lines(told.settings, "show", "-n", "99")
        if "too large" in row.get("detail", "")
    ]
    assert {row["connector"] for row in large} == set(READERS)
    assert {len(row["event"]["attributes"]["large"]) for row in large} == {len(LARGE["large"])}
    [by_id, *_] = lines(told.settings, "show", "--id", after["origin"])
    assert by_id["origin"] == after["origin"]


def test_without_a_fix_nothing_is_sent(told: Told) -> None:
    assert {row["outcome"] for row in told.unfixed} == {"left"}
    why = {row["reason"]: row["why"] for row in told.unfixed}
    assert "unknown_schema" in why["unknown_schema"]
    assert "nilo replay repair" in why["late"]
    assert "future_bound" in why["future"] or "ahead" in why["future"]


def test_killed_twice_and_run_twice_at_once_each_message_is_sent_once(told: Told) -> None:
    assert told.codes == [[-signal.SIGKILL], [-signal.SIGKILL], [0, 0]]
    settings = told.settings
    again = [
        one for one in read_topic(settings, LLM) if dict(one.headers() or []).get(REDRIVEN_FROM)
    ]
    assert len(again) == UNKNOWN
    for one in again:
        headers = dict(one.headers())
        assert headers.keys() == {"traceparent", REDRIVEN_FROM, "x-nilo-attempt"}
        assert headers["x-nilo-attempt"] == b"2"
        assert headers[REDRIVEN_FROM].decode().split(":")[1] == str(one.partition())
        assert one.key() == b"k"
    for store in STORES:
        assert COUNT[store](settings, LLM) == COUNT[store](settings, LLM, distinct=True)
    assert counted(settings) == GOOD + 1 + UNKNOWN


def test_a_second_redrive_leaves_the_same_tables(told: Told) -> None:
    assert told.tables[0] == told.tables[1]
    assert told.tables[2] == told.tables[3]
    assert by_outcome(told.second)["unknown_schema", "done before", ""] == UNKNOWN
    assert {row["outcome"] for row in told.second + told.last} == {"left", "done before"}


def test_what_one_store_refused_is_given_to_it_alone_under_its_origin(told: Told) -> None:
    """One of the two was redriven before: its letter counts a second attempt."""
    assert by_outcome(told.fixed)["refused", "stored", "postgres"] == 2
    assert told.tables[2]["parquet"] == told.tables[1]["parquet"]
    assert told.tables[2]["postgres"] == told.tables[2]["parquet"]
    [refused] = [
        row for row in lines(told.settings, "list", "--reason", "refused") if row["letters"]
    ]
    assert (refused["redriven"], refused["attempts"]) == (2, 2)


def test_the_ledger_is_clean_after_it(told: Told) -> None:
    assert told.ledger["clean"]
    assert sum(line["rows"] for line in told.ledger["entries"]) == len(STORES) * (
        GOOD + 3 + UNKNOWN
    )
    also = {
        line["store"]: line["also_dead"] for line in told.ledger["entries"] if line["also_dead"]
    }
    assert also == {"postgres": 2}


def test_a_store_that_begins_after_it_has_nothing_twice(told: Told) -> None:
    """It can read by now what the others could not, and passes over it: it comes again later."""
    assert told.fresh["clean"]
    absent = sum((Counter(line["absent"]) for line in told.fresh["entries"]), Counter())
    assert absent == {"redriven": UNKNOWN, "framing": 1}


@pytest.mark.parametrize(
    ("words", "code", "told_so"),
    [
        (["redrive"], 2, "--yes"),
        (["list", "--topic", "nothing"], 2, "no topic 'nothing'"),
        (["list", "--reason", "bad"], 2, "no reason 'bad'"),
        (["show", "--id", "events.llm"], 2, "topic:partition:offset"),
        (["show", "--id", f"{LLM}:0:999"], 1, "nilo dlq list"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    told: Told, words: list[str], code: int, told_so: str
) -> None:
    done = nilo(told.settings, "dlq", *words)
    assert done.returncode == code
    assert told_so in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_topics_that_are_missing_are_named(stack: Settings) -> None:
    other = stack.model_copy(update={"topic_prefix": "nowhere."})
    done = nilo(other, "dlq", "list")
    assert done.returncode == 1
    assert "nilo topics create" in done.stderr


def test_the_page_is_true(told: Told) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    words = [shlex.split(line) for block in blocks for line in block.splitlines()]
    done = [nilo(told.settings, *each[1:]) for each in words]
    assert [(each.returncode, each.stderr) for each in done] == [(0, "")] * len(words)
    assert all(each.stdout for each in done)
    assert {each[2] for each in words} == {"list", "show", "redrive"}
