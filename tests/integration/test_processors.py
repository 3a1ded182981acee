"""The Faust app on the real broker: bad and late messages, two workers, a clean stop."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer as RawProducer

from nilo_producers import Producer
from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import encode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.integration.programs import free_port, healthy, running, wait_for
from tests.integration.windows import newest_windows, read_topic

pytestmark = pytest.mark.integration
START = datetime(2026, 1, 1, tzinfo=UTC)


def call(seconds: float, subject: str = "s", model: str = "m") -> LlmEvent:
    time = START + timedelta(seconds=seconds)
    return LlmEvent(type="llm.call", source="test", subject=subject, model=model, time=time)


def emit(settings: Settings, events: list[LlmEvent]) -> None:
    with Producer(settings) as producer:
        for event in events:
            producer.emit(event)


def calls(settings: Settings) -> dict[float, int]:
    """Calls in final 10-second windows, by seconds after START."""
    found: dict[float, int] = {}
    for (metric, length, start, _), window in newest_windows(settings).items():
        if (metric, length) == ("llm.calls", "10s") and window.final:
            second = (start - START).total_seconds()
            found[second] = found.get(second, 0) + window.count
    return found


def letters(settings: Settings) -> list[dict[str, Any]]:
    found = []
    for message in read_topic(settings, "dlq.events.llm"):
        headers = {name: value.decode() for name, value in message.headers()}
        found.append({"value": message.value(), "key": message.key(), **headers})
    return found


def test_what_does_not_decode_is_kept_with_its_origin_and_the_rest_goes_on(
    settings: Settings, tmp_path: Path
) -> None:
    emit(settings, [call(1), call(2)])
    raw = RawProducer(kafka_config(settings))
    raw.produce(
        settings.topic_prefix + "events.llm", b"no avro", b"k", partition=0, headers={"x": b"y"}
    )
    raw.flush(10)
    emit(settings, [call(3)])

    with running(settings, "process", "--metrics-port", free_port(), log=tmp_path / "process.log"):
        wait_for("the window", lambda: calls(settings) == {0.0: 3})
        wait_for("the dead letter", lambda: letters(settings))

    (letter,) = letters(settings)
    assert (letter["value"], letter["key"], letter["x"]) == (b"no avro", b"k", "y")
    assert letter["__connect.errors.topic"] == settings.topic_prefix + "events.llm"
    assert letter["__connect.errors.partition"] == "0"
    assert letter["__connect.errors.offset"].isdigit()
    assert letter["__connect.errors.connector.name"] == "processors"
    assert letter["x-nilo-error-code"] == "framing"


def test_messages_as_large_as_kafka_takes_do_no_harm(settings: Settings, tmp_path: Path) -> None:
    """With its headers a dead letter is larger than its message; a label is in keys and values."""
    emit(settings, [call(1)])
    # Ours would refuse such a label.
    long = encode(
        call(2).model_copy(update={"model": "m" * 900_000}),
        Registry(settings).schema_id(LlmEvent),
    )
    raw = RawProducer(kafka_config(settings))
    for value in (long, b"x" * 999_900):
        raw.produce(settings.topic_prefix + "events.llm", value, partition=0)
    assert raw.flush(10) == 0

    with running(settings, "process", "--metrics-port", free_port(), log=tmp_path / "process.log"):
        wait_for("the window", lambda: calls(settings) == {0.0: 2})
        wait_for("the dead letter", lambda: letters(settings))

    (letter,) = letters(settings)
    assert letter["value"] is None
    assert "its origin" in letter["__connect.errors.exception.message"]
    models = {window.dimensions.get("model") for window in newest_windows(settings).values()}
    assert models == {"m", "__other__"}


def test_an_event_after_the_grace_is_kept_as_late_and_one_within_it_is_counted(
    settings: Settings, tmp_path: Path
) -> None:
    """One partition: 0 s, 700 s, then 80 s (the grace of [80, 90) is over: too late) and 650 s."""
    emit(settings, [call(0), call(700), call(80), call(650)])

    with running(settings, "process", "--metrics-port", free_port(), log=tmp_path / "process.log"):
        wait_for("the windows", lambda: calls(settings) == {0.0: 1, 700.0: 1, 650.0: 1})
        wait_for("the late event", lambda: letters(settings))

    assert [letter["x-nilo-error-code"] for letter in letters(settings)] == ["late"]


def test_two_workers_share_the_partitions_and_a_stopped_one_hands_over(
    settings: Settings, tmp_path: Path
) -> None:
    """The second worker joins, the first one leaves: every event is counted once."""

    def some(first: int) -> list[LlmEvent]:
        return [call(first + i / 100, subject=f"s{i % 17}") for i in range(2000)]

    log = tmp_path / "process.log"
    with running(settings, "process", "--metrics-port", free_port(), log=log) as first:
        emit(settings, some(0))
        wait_for("the first windows", lambda: sum(calls(settings).values()) == 2000)
        port = free_port()
        with running(settings, "process", "--metrics-port", port, log=log):
            wait_for("the second worker", lambda: healthy(port))
            emit(settings, some(20))
            wait_for("both workers' windows", lambda: sum(calls(settings).values()) == 4000)
            first.send_signal(signal.SIGTERM)
            assert first.wait(30) == 0
            emit(settings, some(40))
            wait_for("the last windows", lambda: sum(calls(settings).values()) == 6000)

    assert calls(settings) == {float(start): 1000 for start in range(0, 60, 10)}
    assert letters(settings) == []
