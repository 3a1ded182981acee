"""Exports on their way out and back: JSON lines and CSV exactly, Markdown for people."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilo_cli.event_csv import csv_lines
from nilo_cli.event_files import Export, opened
from nilo_cli.export_markdown import markdown
from nilo_cli.main import main
from nilo_cli.spool import Spool, json_values
from nilo_schemas.envelope import Event, Severity
from nilo_schemas.families import (
    OURS,
    ChatEvent,
    DebateEvent,
    EvolutionEvent,
    GraphEvent,
    LlmEvent,
    Market,
    TradeEvent,
)
from nilo_schemas.settings import Settings
from tests.property.strategies import SHORT, of
from tests.unit.test_consumers_sqlite import batch, connected

T0 = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
NASTY = [
    "", '"', '""', "=1+1", "-1", "-x", "+", "@", "a\r\nb", "\r", "a\nb", ",", "\\N", "NULL", "null",
    "\t", " x ", "ü🌊", "\u2028", "\x85", "\x01", "[]", "{}", "1E+3", "'", '"a', "true", "\ufeff",
]  # fmt: skip


def exported(events: list[Event], form: str) -> bytes:
    with Spool() as spool:
        for event in events:
            spool.add(event)
        lines = [f"{line}\n" for line in spool.lines()]
        text = csv_lines(lines, spool.columns) if form == "csv" else lines
        return "".join(text).encode()


def imported(written: bytes, form: str) -> list[Event]:
    return list(Export("file", io.BytesIO(written), form == "csv").events())


def in_order(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: (event.time, event.id.encode()))


def by_line(events: list[Event]) -> dict[str, Event]:
    """The events by their JSON, which also tells -0.0 from 0.0."""
    return {json.dumps(json_values(event)): event for event in events}


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@SHORT
@given(data=st.data())
def test_events_of_all_families_come_back_equal(form: str, data: st.DataObject) -> None:
    events = data.draw(st.lists(st.one_of(*map(of, OURS)), max_size=6))
    back = imported(exported(events, form), form)
    assert by_line(back) == by_line(events)
    assert len(back) == len(by_line(events))
    assert back == in_order(back)
    assert exported(back[::-1], form) == exported(events, form)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_nasty_texts_come_back(form: str) -> None:
    events: list[Event] = [
        GraphEvent(
            type="graph.node.exit", source="s", error_type=text, state_keys=[text, text],
            attributes={text: text}, node=text or None,
        )
        for text in NASTY
    ]  # fmt: skip
    assert imported(exported(events, form), form) == in_order(events)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_extreme_numbers_come_back(form: str) -> None:
    events: list[Event] = [
        LlmEvent(
            type="llm.call", source="s",
            duration=timedelta(days=36_525) - timedelta(microseconds=1),
            time_to_first_token=timedelta(microseconds=1), cost=Decimal("1234567890.123456789"),
            input_tokens=2**63 - 1, time=datetime.max.replace(tzinfo=UTC),
        ),
        LlmEvent(type="llm.call", source="s", cost=Decimal("0.000000001")),
        TradeEvent(
            type="trade.gate", source="s", gate_passed=False, quantity=5e-324,
            price=Decimal("-9E+9"), market=Market(trend_30m=-0.0, spread_bps=0.1 + 0.2),
        ),
        EvolutionEvent(type="kpi.snapshot", source="s", kpis={"b": -1e300, "a": 1 / 3}),
    ]  # fmt: skip
    back = imported(exported(events, form), form)
    assert by_line(back) == by_line(events)


def test_no_cell_is_a_formula_to_a_spreadsheet() -> None:
    events: list[Event] = [LlmEvent(type="llm.call", source=text or "s") for text in NASTY]
    rows = list(csv.DictReader(io.StringIO(exported(events, "csv").decode(), newline="")))
    assert not [row["source"] for row in rows if row["source"][0] in "=+@\t\r"]
    assert {row["source"] for row in rows if row["source"][0] == "-"} == {"-1"}


def test_the_columns_are_those_that_have_values() -> None:
    events: list[Event] = [
        LlmEvent(type="llm.call", source="s", model="m"),
        ChatEvent(type="chat.start", source="s", role="user"),
    ]
    header = exported(events, "csv").decode().splitlines()[0]
    envelope = "id,type,time,source,severity,sample_rate,attributes"
    assert header == f"{envelope},model,status,role"


def test_maps_are_in_order_of_key_and_equal_events_written_once() -> None:
    one = LlmEvent(type="llm.call", source="s", attributes={"b": "1", "a": "2"})
    two = one.model_copy(update={"attributes": {"a": "2", "b": "1"}})
    assert exported([one, two], "jsonl") == exported([two], "jsonl")
    assert b'{"a": "2", "b": "1"}' in exported([one], "jsonl")


GOOD = '{"id": "1", "type": "llm.call", "time": "2026-01-02T03:04:05Z", "source": "s"}'


@pytest.mark.parametrize(
    ("name", "written", "told"),
    [
        ("x.jsonl", "{", "line 2: not JSON"),
        ("x.jsonl", "[]", "line 2: not a JSON object"),
        ("x.jsonl", GOOD[:-1] + ', "tokens": 1}', "line 2: LlmEvent has no field 'tokens'"),
        ("x.jsonl", GOOD.replace("llm.call", "llm.cal"), "line 2: unknown event type 'llm.cal'"),
        ("x.jsonl", GOOD.replace('"id": "1", ', ""), "line 2: no id: `nilo export`"),
        ("x.jsonl", '{"payload": {}}', "line 2: no id, type, time, source"),
        ("x.jsonl", GOOD[:-1] + ', "sample_rate": 0}', "line 2: sample_rate=0"),
        ("x.jsonl", b"\xff", "line 2: not UTF-8"),
        ("x.csv", "1,llm.call,2026-01-02T03:04:05Z", "line 2: 3 cells, and the header has 5"),
        ("x.csv", '1,llm.call,2026-01-02T03:04:05Z,s,"', "line 2: no CSV"),
        ("x.csv", "1,llm.call,2026-01-02T03:04:05Z,s,x", "line 2: input_tokens='x'"),
        ("x.csv", '1,llm.call,2026-01-02T03:04:05Z,"""s",', "line 2: not JSON"),
        ("x.csv", "1,,2026-01-02T03:04:05Z,s,", "line 2: no type"),
    ],
)
def test_a_bad_line_is_named_with_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, written: str | bytes, told: str
) -> None:
    file = tmp_path / name
    first = GOOD if name == "x.jsonl" else "id,type,time,source,input_tokens"
    rest = written if isinstance(written, bytes) else written.encode()
    file.write_bytes(first.encode() + b"\n" + rest + b"\n")
    assert main(["import", str(file), "--dry-run"]) == 2
    shown = capsys.readouterr()
    assert f"nilo: {file}, {told}" in shown.err
    assert shown.out == ""


def test_a_dry_run_needs_no_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(f"\ufeff{GOOD}\n\n{GOOD}\r\n")
    table = tmp_path / "x.csv"
    table.write_text("id,type,time,source\n\n1,llm.call,2026-01-02T03:04:05Z,s\n")
    assert main(["import", str(file), str(table), "--dry-run"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"events": 3, "emitted": 0, "skipped": 0, "dry_run": True}


@pytest.mark.parametrize("words", ["-", "/dev/stdin --format jsonl", "- < {file}"])
def test_a_pipe_is_read_like_a_file(tmp_path: Path, words: str) -> None:
    file = tmp_path / "x"
    file.write_text(f"{GOOD}\n" * 3)
    command = f"cat {file} | {sys.executable} -m nilo_cli import --dry-run {words}"
    told = subprocess.run(
        ["bash", "-c", command.format(file=file)], capture_output=True, text=True, check=True
    )
    assert json.loads(told.stdout)["events"] == 3


def test_a_csv_that_a_spreadsheet_saved_again_is_the_same(tmp_path: Path) -> None:
    """It drops needless quotes, ends lines with CR LF, and begins with a byte order mark."""
    events: list[Event] = [
        LlmEvent(type="llm.call", source=text or "s", error_type=text) for text in NASTY
    ]
    rows = list(csv.reader(io.StringIO(exported(events, "csv").decode(), newline="")))
    file = tmp_path / "again.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as out:
        csv.writer(out).writerows(rows)
    with ExitStack() as stack:
        assert list(opened(file, None, stack).events()) == in_order(events)


def test_a_row_that_is_older_than_a_column_has_its_default(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    file = tmp_path / "nilo.db"
    sink = connected(Settings(sqlite_file=file))
    sink.write(batch(0, 1))
    sink.close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("ALTER TABLE events_llm DROP COLUMN status")
    connected(Settings(sqlite_file=file)).close()
    assert main(["--sqlite-file", str(file), "export", "--from", "sqlite"]) == 0
    assert json.loads(capfdbinary.readouterr().out)["status"] == "OK"


def test_a_debate_is_told_in_order_and_numbers_are_a_table() -> None:
    common: dict[str, Any] = {"source": "s", "session_id": "debate_7"}
    events: Sequence[Event] = [
        LlmEvent(type="llm.call", time=T0, model="a|b", duration=timedelta(seconds=1.5), **common),
        DebateEvent(
            type="debate.turn", time=T0 + timedelta(seconds=2), agent="bob", turn=2,
            stance="against\n# x", sentiment=-0.5, **common,
        ),
        DebateEvent(type="debate.turn", time=T0, agent="ada", turn=1, stance="for", **common),
        ChatEvent(type="chat.message", time=T0 + timedelta(seconds=1), role="user", **common),
        ChatEvent(type="chat.start", time=T0 - timedelta(1), source="s", severity=Severity.ERROR),
    ]  # fmt: skip
    with Spool() as spool:
        for event in events:
            spool.add(event)
        text = "".join(markdown(spool))

    assert text == (
        "# Events of no session\n\n"
        "1 event, 2026-01-01 03:04:05.678 to 2026-01-01 03:04:05.678. "
        "Times are UTC, durations seconds, money dollars.\n\n"
        "- 2026-01-01 03:04:05.678 **start**: status OK, severity ERROR\n\n"
        "# Session debate\\_7\n\n"
        "4 events, 2026-01-02 03:04:05.678 to 2026-01-02 03:04:07.678. "
        "Times are UTC, durations seconds, money dollars.\n\n"
        "- 2026-01-02 03:04:05.678 **turn 1, ada**: stance for\n"
        "- 2026-01-02 03:04:06.678 **message, user**: status OK\n"
        "- 2026-01-02 03:04:07.678 **turn 2, bob**: stance against \\# x, sentiment -0.5\n\n"
        "## events.llm\n\n"
        "| time | type | source | severity | attributes | model | status | duration |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| 2026-01-02 03:04:05.678 | llm.call | s | INFO |  | a\\|b | OK | 1.5 |\n\n"
    )
