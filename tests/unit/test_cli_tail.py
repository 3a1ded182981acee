"""What `nilo tail` understands and how it writes a message."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from nilo_cli.errors import UsageError
from nilo_cli.tail import full_name
from nilo_cli.tail_format import Seen, as_json, check_format, formatted, line
from nilo_cli.tail_offsets import Span, _first, parse_span
from nilo_schemas.dead_letters import dead_letter_headers
from nilo_schemas.envelope import Severity
from nilo_schemas.errors import DecodeError, Reason
from nilo_schemas.families import LlmEvent
from nilo_schemas.record import Record
from nilo_schemas.results import MetricPartial, MetricWindow, SourceRange
from nilo_schemas.settings import Settings

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
CALL = LlmEvent(
    id="i",
    type="llm.call",
    time=NOON,
    source="app",
    subject="bot",
    duration=timedelta(seconds=1.5),
    attributes={"region": "eu"},
)
BROKEN = DecodeError(Reason.CORRUPT, "EOFError: the end")
SOURCES = [SourceRange(topic="events.llm", partition=2, first_offset=0, last_offset=9)]


def seen(record: Record | DecodeError = CALL, **more: Any) -> Seen:
    values = {"key": b"bot", "value": b"12345", "headers": [("a", b"b"), ("c", b"d")]} | more
    stamp = (TIMESTAMP_CREATE_TIME, 1_748_779_200_000)
    return Seen(Message("events.llm", 2, 7, timestamp=stamp, **values), record)


@pytest.mark.parametrize(
    ("words", "span"),
    [
        ([], Span("end")),
        (["beginning"], Span("beginning")),
        (["end"], Span("end")),
        (["42"], Span(42)),
        (["-10"], Span(-10)),
        (["s@1000"], Span("end", 1000)),
        (["s@1000", "e@2000"], Span("end", 1000, 2000)),
        (["e@2000"], Span("beginning", None, 2000)),
        (["-10", "e@2000"], Span(-10, None, 2000)),
    ],
)
def test_offsets_are_kcats(words: list[str], span: Span) -> None:
    assert parse_span(words) == span


@pytest.mark.parametrize("word", ["", "-", "x", "1.5", "s@", "s@x", "e@-1", "@1", "--1", "stored"])
def test_other_offsets_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="use beginning, end"):
        parse_span([word])


@pytest.mark.parametrize(
    ("start", "first"),
    [("beginning", 5), ("end", 20), (7, 7), (1, 5), (99, 20), (-3, 17), (-99, 5), (0, 5)],
)
def test_a_start_stays_within_what_the_partition_holds(start: str | int, first: int) -> None:
    """The partition holds [5, 20)."""
    assert _first(Span(start), 5, 20) == first


def test_every_token_of_a_format() -> None:
    form = r"%t %p %o %k %S %K %T %h %%\t%s\n"
    head, _, payload = formatted(form, seen()).partition("\t")
    assert head == "events.llm 2 7 bot 5 3 1748779200000 a=b,c=d %"
    assert payload.endswith("\n")
    assert json.loads(payload)["duration"] == 1.5


def test_a_format_without_key_and_value() -> None:
    assert formatted("[%k] %K %S", seen(BROKEN, key=None, value=None)) == "[] -1 -1"


def test_a_format_shows_why_a_message_does_not_decode() -> None:
    assert formatted("%o %s", seen(BROKEN)) == "7 (corrupt: EOFError: the end)"


def test_an_unknown_token_is_refused_before_anything_is_read() -> None:
    check_format("%t %% 100%%")
    with pytest.raises(UsageError, match="unknown token '%x'"):
        check_format("%t %x")


def test_json_has_kcats_names() -> None:
    assert as_json(seen()) == {
        "topic": "events.llm",
        "partition": 2,
        "offset": 7,
        "tstype": "create",
        "ts": 1_748_779_200_000,
        "headers": ["a", "b", "c", "d"],
        "key": "bot",
        "payload": CALL.model_dump(mode="json", exclude_none=True),
    }


def test_json_of_a_message_that_does_not_decode_has_the_reason() -> None:
    told = as_json(seen(BROKEN))
    assert told["payload"] is None
    assert told["error"] == {"reason": "corrupt", "detail": "EOFError: the end"}


def test_a_line_tells_time_type_key_and_facts() -> None:
    assert line(seen()) == (
        "12:00:00.000Z  llm.call  bot  status=OK duration=1.5 region=eu",
        "",
    )


def test_a_grave_event_is_named_and_coloured() -> None:
    text, style = line(seen(CALL.model_copy(update={"severity": Severity.ERROR})))
    assert "  ERROR  " in text
    assert style == "red"


def test_a_line_never_steers_the_terminal() -> None:
    text, _ = line(seen(CALL.model_copy(update={"subject": "\x1b[2Jgone\n"})))
    assert "\x1b" not in text
    assert "\n" not in text


def test_a_broken_message_is_a_line_like_others() -> None:
    assert line(seen(BROKEN)) == (
        "12:00:00.000Z  events.llm/2@7  does not decode: corrupt: EOFError: the end",
        "red",
    )


def test_a_dead_letter_tells_its_origin_and_reason() -> None:
    headers = dead_letter_headers(
        [],
        topic="events.llm",
        partition=3,
        offset=99,
        connector="postgres",
        stage="VALUE_CONVERTER",
        reason=Reason.FRAMING,
        detail="first byte is 1",
    )
    text, _ = line(seen(BROKEN, headers=headers))
    assert text.startswith("framing  events.llm/3@99  first byte is 1  |  ")


def window(*, final: bool) -> MetricWindow:
    return MetricWindow(
        metric="llm.duration",
        unit="seconds",
        window="10s",
        window_start=NOON,
        window_end=NOON + timedelta(seconds=10),
        dimensions={"model": "m"},
        count=20,
        errors=1,
        mean=0.5,
        rate=2.0,
        error_ratio=0.05,
        quantiles={"p95": 1.23456},
        final=final,
        revision=1,
        watermark=NOON,
        sources=SOURCES,
    )


def test_a_window_tells_its_interval_and_numbers() -> None:
    assert line(seen(window(final=True))) == (
        "[12:00:00, 12:00:10)  llm.duration  model=m  "
        "count=20 errors=1 mean=0.5 p95=1.235  seconds  final",
        "",
    )
    assert line(seen(window(final=False)))[0].endswith("so far")


def test_a_partial_without_a_metric_is_a_watermark() -> None:
    partial = MetricPartial(
        metric="",
        dimensions={},
        window_start=NOON,
        window_end=NOON,
        source=SOURCES[0],
        watermark=NOON,
        count=0,
        errors=0,
        value_scale=1,
    )
    assert line(seen(partial))[0] == "events.llm/2  watermark 2025-06-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("events.llm", "p.events.llm"),
        ("p.events.llm", "p.events.llm"),
        ("dlq.events.llm", "p.dlq.events.llm"),
        ("p.dlq.events.llm", "p.dlq.events.llm"),
    ],
)
def test_the_prefix_may_be_left_out(topic: str, name: str, tmp_path: Path) -> None:
    assert full_name(Settings(home=tmp_path, topic_prefix="p."), topic) == (name, LlmEvent)


def test_windows_are_read_as_windows(tmp_path: Path) -> None:
    assert full_name(Settings(home=tmp_path), "metrics.windows")[1] is MetricWindow
