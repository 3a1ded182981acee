"""What was emitted is exported alike from every store, and imported as it was."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples

from nilo_cli.main import main
from nilo_cli.stored_events import stored_events
from nilo_consumers.events import Selection
from nilo_producers import Producer
from nilo_schemas.envelope import Event
from nilo_schemas.families import OURS, ChatEvent, DebateEvent, LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from nilo_schemas.topics import create_topics
from tests.integration.sinking import COUNT, LLM, produce, send, sinking, wait_count
from tests.integration.test_sink_values import EVERY_FIELD
from tests.integration.topics import delete_topics
from tests.property.strategies import of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("events.llm", "events.chat", "events.debate"),
]
STORES = ("postgres", "parquet", "sqlite", "kafka")


def drawn(family: type[Event], number: int) -> list[Event]:
    """Events of a family with whatever values it may have, the same at every run."""
    found: list[Any] = []

    @examples(
        max_examples=number,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(event=of(family))
    def draw(event: Event) -> None:
        found.append(event)

    draw()
    return found


def unsigned(event: Event) -> Event:
    """The event without -0.0: neither PostgreSQL's jsonb nor SQLite keeps the sign of a nought."""
    values = json.loads(event.model_dump_json(), parse_float=lambda text: float(text) + 0.0)
    return type(event).model_validate(values)


def emit(settings: Settings, events: list[Any]) -> None:
    with Producer(settings) as producer:
        for event in events:
            producer.emit(event)


def run(settings: Settings, *words: str, code: int = 0) -> tuple[bytes, str]:
    """Run `nilo …` in this process; what it wrote to standard output and to standard error."""
    out, told = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(told):
        for name, value in settings.environment().items():
            patch.setenv(name, value)
        assert main(words) == code, told.getvalue()
    out.flush()
    return out.buffer.getvalue(), told.getvalue()


def export(settings: Settings, *words: str, code: int = 0) -> bytes:
    return run(settings, "export", *words, code=code)[0]


@pytest.fixture
def copy(settings: Settings) -> Iterator[Settings]:
    """A second installation, empty."""
    prefix = f"t{uuid.uuid4().hex[:8]}."
    second = settings.model_copy(update={"topic_prefix": prefix})
    list(create_topics(second))
    list(Registry(second).register_all())
    yield second
    delete_topics(second)


@pytest.mark.topics
def test_all_families_are_exported_alike_from_every_store_and_imported_as_they_were(
    settings: Settings, copy: Settings, tmp_path: Path
) -> None:
    """Byte for byte, through JSON lines and through CSV."""
    made: list[Event] = [*EVERY_FIELD, *(event for family in OURS for event in drawn(family, 12))]
    events = list({str(event): event for event in map(unsigned, made)}.values())
    emit(settings, events)
    with ExitStack() as stack:
        for store in COUNT:
            stack.enter_context(sinking(store, settings))
        for store in COUNT:
            for family in OURS:
                rows = sum(type(event) is family for event in events)
                wait_count(store, settings, rows, family.kafka_topic)

    whole = {store: export(settings, "--from", store) for store in STORES}
    assert len(set(whole.values())) == 1
    assert whole["kafka"].count(b"\n") == len(events)

    jsonl, table = tmp_path / "all.jsonl", tmp_path / "all.csv"
    jsonl.write_bytes(whole["kafka"])
    table.write_bytes(export(settings, "--from", "sqlite", "--format", "csv"))
    run(copy, "import", str(table))
    assert export(copy, "--from", "kafka", "--format", "csv") == table.read_bytes()

    again = json.loads(run(copy, "import", str(jsonl), "--skip-existing")[0])
    assert (again["emitted"], again["skipped"]) == (0, len(events))
    twice = json.loads(run(copy, "import", str(jsonl))[0])
    assert twice["emitted"] == len(events)
    both, told = run(copy, "export", "--from", "kafka")
    assert both == whole["kafka"]
    assert f"{len(events)} events are there more than once" in told


@pytest.fixture
def debate(settings: Settings) -> list[Event]:
    """A debate, a call within it, and what does not belong to it."""
    mine: dict[str, Any] = {"source": "arena", "session_id": "debate-7"}
    events: list[Event] = [
        DebateEvent(type="debate.start", topic="dams", **mine),
        DebateEvent(type="debate.turn", agent="ada", turn=1, stance="for", subject="ada", **mine),
        LlmEvent(type="llm.call", model="atlas", subject="ada", **mine),
        DebateEvent(type="debate.turn", agent="bob", turn=2, stance="against", **mine),
        ChatEvent(type="chat.start", source="arena", session_id="other"),
    ]
    emit(settings, events)
    return events


def types(text: bytes) -> list[str]:
    return [json.loads(line)["type"] for line in text.splitlines()]


def test_a_selection_is_the_same_from_every_store(settings: Settings, debate: list[Event]) -> None:
    third = debate[2].time
    asked = [
        (Selection(sessions=["debate-7"]), debate[:4]),
        (Selection(sessions=["debate-7", "other"], subjects=["ada"]), debate[1:3]),
        (Selection(types=["debate.turn", "chat.start"]), [debate[1], debate[3], debate[4]]),
        (Selection(since=third), debate[2:]),
        (Selection(until=third), debate[:2]),
        (Selection(sessions=["it's \"this'"]), []),
    ]
    with ExitStack() as stack:
        for store in COUNT:
            stack.enter_context(sinking(store, settings))
        for store in COUNT:
            for topic, rows in (("events.debate", 3), ("events.chat", 1), (LLM, 1)):
                wait_count(store, settings, rows, topic)

    for store in STORES:
        for wanted, events in asked:
            found = [
                family.from_avro(values)
                for family in (DebateEvent, LlmEvent, ChatEvent)
                for values in stored_events(store, settings, family, wanted)
            ]
            assert sorted(found, key=attrgetter("time")) == events


def test_without_a_store_named_the_first_that_has_events_is_read(
    settings: Settings, debate: list[Event]
) -> None:
    session = ("--session", "debate-7", "--type", "debate.turn", "--type", "llm.call")
    whole = export(settings, *session)
    with sinking("sqlite", settings):
        wait_count("sqlite", settings, 3, "events.debate")
        wait_count("sqlite", settings, 1, LLM)
    gone = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    assert export(gone, *session) == whole
    assert types(whole) == ["debate.turn", "llm.call", "debate.turn"]
    out, told = run(settings, "export", "--session", "none", "--from", "sqlite", code=1)
    assert (out, told) == (b"", "nilo: no events match in sqlite; --from reads another store\n")


def test_what_is_no_event_of_ours_is_left_out_and_told(
    settings: Settings, debate: list[Event]
) -> None:
    """A foreign producer may break rules that Avro cannot say, and put anything into a topic."""
    send(settings, [debate[2].model_copy(update={"id": "broken", "trace_id": "not hex"})])
    produce(settings, LLM, [b"garbage"])
    out, told = run(settings, "export", "--from", "kafka", "--type", "llm.call", code=1)
    assert "left out: event broken: 1 validation error for LlmEvent trace_id" in told
    assert types(out) == ["llm.call"]


def test_a_bad_line_keeps_all_others_out_of_kafka_and_lines_of_tail_are_taken(
    settings: Settings, debate: list[Event], copy: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "debate.jsonl"
    seen = run(settings, "tail", "events.debate", "-o", "beginning", "-e", "-f", r"%s\n")[0]
    file.write_bytes(seen + b'{"id": "x"}\n')
    _, told = run(copy, "import", str(file), code=2)
    assert f"{file}, line 4: no type, time, source" in told
    turns = ("export", "--from", "kafka", "--type", "debate.turn")
    assert run(copy, *turns, code=1)[0] == b""

    file.write_bytes(seen)
    run(copy, "import", str(file))
    assert run(copy, *turns)[0] == run(settings, *turns)[0]


@pytest.mark.topics
def test_an_import_that_fails_says_how_far_it_came(settings: Settings, tmp_path: Path) -> None:
    """One event is larger than the broker takes."""
    file = tmp_path / "large.jsonl"
    small = LlmEvent(type="llm.call", source="s")
    large = LlmEvent(type="llm.call", source="s", attributes={"text": "x" * 2_000_000})
    file.write_text(f"{small.model_dump_json()}\n{large.model_dump_json()}\n")
    _, told = run(settings, "import", str(file), code=1)
    assert "1 of 2 events are in Kafka; --skip-existing goes on from there" in told
    assert large.id in told
