"""What `nilo tail` understands and how it writes a message."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from nilo_cli.errors import UsageError
from nilo_cli.tail import full_name
from nilo_cli.tail_format import Seen, as_json, check_format, formatted, lines
from nilo_cli.tail_offsets import Span, _first, parse_span
from nilo_cli.tail_partials import Frame, read_frame
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.dead_letters import dead_letter_headers
from nilo_schemas.envelope import Severity
from nilo_schemas.errors import DecodeError, Reason
from nilo_schemas.families import LlmEvent
from nilo_schemas.record import Record
from nilo_schemas.results import PARTIALS_TOPIC, MetricWindow, SourceRange
from nilo_schemas.settings import Settings
from nilo_stream_processors.engine.partials import Partials, to_arrow
from nilo_stream_processors.frames import to_frame
from tests.rows import call, measured
from tests.stages import Stage1

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


def seen(record: Record | Frame | DecodeError = CALL, **more: Any) -> Seen:
    values = {"key": b"bot", "value": b"12345", "headers": [("a", b"b"), ("c", b"d")]} | more
    stamp = (TIMESTAMP_CREATE_TIME, 1_748_779_200_000)
    return Seen(Message("events.llm", 2, 7, timestamp=stamp, **values), record)


def line(shown: Seen) -> tuple[str, str]:
    (only,) = lines(shown)
    return only


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


def test_a_session_that_is_none_any_more_is_told_as_withdrawn() -> None:
    gone = window(final=True).model_copy(update={"window": "session 10s", "count": 0})
    told, _ = line(seen(gone))
    assert told == "[12:00:00, 12:00:10)  llm.duration  model=m  withdrawn  final"


def frame_bytes() -> bytes:
    """What a partition sends: panes of two series, and a session that was joined to another."""
    metrics = {
        "llm.duration": measured(dimensions=["model", "provider"], aggregates=["quantiles"]),
        "visits": measured(windows=["session 10s"], dimensions=["session_id"]),
    }
    source = Stage1(metrics, partition=2)
    source.feed(
        call(0, "m", session_id="x", sample_rate=3, duration=-(2**40), status="ERROR"),
        call(1, None, session_id=None),
        call(20, "m", session_id="x"),
    )
    source.commit()
    source.feed(call(10, "m", session_id="x"))
    source.state.idle = True
    partials, marks = source.commit()
    header = {"marks": [[*source, *mark] for source, mark in marks.items()]}
    return to_frame(to_arrow(partials), header)


def marked(header: dict[str, Any]) -> bytes:
    return to_frame(to_arrow(Partials.joined([])), header)


CATALOGUE = Catalogue(metrics={"llm.duration": measured(dimensions=["model", "provider"])})


def test_partials_are_a_line_each_and_so_are_marks() -> None:
    """A metric that this catalogue does not know has its labels numbered."""
    assert list(lines(seen(read_frame(frame_bytes(), CATALOGUE)))) == [
        (
            "[00:00:10, 00:00:20)  llm.duration  model=m provider=p  count=1  from events.llm/2",
            "dim",
        ),
        ("[00:00:00, 00:00:20]  session  visits  0=x  count=5  from events.llm/2", "dim"),
        ("[00:00:20, 00:00:20]  session  visits  0=x  withdrawn  from events.llm/2", "dim"),
        ("events.llm/2  watermark 2026-01-01T00:00:20+00:00  idle", "dim"),
    ]


def test_a_mark_of_a_silent_partition_says_for_how_long() -> None:
    frame = marked({"marks": [["events.llm", 0, 20_000_000, 7, True, 15_000_000]]})
    assert list(lines(seen(read_frame(frame, CATALOGUE)))) == [
        ("events.llm/0  watermark 1970-01-01T00:00:20+00:00  idle for 15 s", "dim")
    ]


def test_partials_as_json_have_all_that_is_sent() -> None:
    told = as_json(seen(read_frame(frame_bytes(), CATALOGUE)))["payload"]

    assert json.loads(json.dumps(told["partials"][1])) == {
        "metric": "visits",
        "dimensions": {"0": "x"},
        "start": "2026-01-01T00:00:00+00:00",
        "end": "2026-01-01T00:00:20+00:00",
        "gap": 10.0,
        "source": {"topic": "events.llm", "partition": 2, "first_offset": 0, "last_offset": 3},
        "count": 5,
        "errors": 3,
        "sum": 2000 - 3 * 2**40,
        "least": -(2**40),
        "largest": 1000,
        "zero": 0,
        "negative": 3,
        "buckets": {"-319": 2},
    }
    assert told["marks"] == [
        {
            "source": {"topic": "events.llm", "partition": 2, "last_offset": 3},
            "watermark": "2026-01-01T00:00:20+00:00",
            "idle": True,
        }
    ]
    assert "sum" not in told["partials"][2]
    assert told["partials"][2]["source"] == {"topic": "events.llm", "partition": 2}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.EMPTY),
        (b"", Reason.EMPTY),
        (b"garbage", Reason.CORRUPT),
        (b"\0\0\0\x80", Reason.CORRUPT),
        (frame_bytes()[:-100], Reason.CORRUPT),
        (frame_bytes()[:2000], Reason.CORRUPT),
        (to_frame(to_arrow(Partials.joined([])), {"no": "marks"}), Reason.CORRUPT),
        (
            to_frame(to_arrow(Partials.joined([])), {"marks": [["t", 0, 2**62, 0, 1]]}),
            Reason.CORRUPT,
        ),
    ],
)
def test_what_is_no_frame_does_not_decode(value: bytes | None, reason: Reason) -> None:
    with pytest.raises(DecodeError) as caught:
        read_frame(value, CATALOGUE)

    assert caught.value.reason is reason
    assert "\n" not in line(seen(caught.value))[0]


def test_dead_partials_tell_their_origin_and_reason() -> None:
    headers = dead_letter_headers(
        [],
        topic="metrics.partials",
        partition=1,
        offset=9,
        connector="nilo",
        stage="TRANSFORMATION",
        reason=Reason.LATE,
        detail="forgotten",
    )
    shown = list(lines(seen(read_frame(frame_bytes(), CATALOGUE), headers=headers)))

    assert len(shown) == 4
    assert all(text.startswith("late  metrics.partials/1@9  forgotten  |  ") for text, _ in shown)
    assert {style for _, style in shown} == {"yellow"}


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


@pytest.mark.parametrize("name", [PARTIALS_TOPIC, f"dlq.{PARTIALS_TOPIC}"])
def test_partials_are_read_as_frames(name: str, tmp_path: Path) -> None:
    assert full_name(Settings(home=tmp_path), name) == (name, None)


def test_an_unknown_topic_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"known: .*events\.llm.*metrics\.partials"):
        full_name(Settings(home=tmp_path), "events.none")
