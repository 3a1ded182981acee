"""The wire format, dead letters, and topics' names."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nilo_schemas.codec import decode, encode
from nilo_schemas.contracts import contract
from nilo_schemas.dead_letters import dead_letter_headers, dead_letter_topic
from nilo_schemas.errors import DecodeError, NiloError, Reason, SettingsError, UnreachableError
from nilo_schemas.families import LlmEvent, families
from nilo_schemas.framing import frame, schema_id_of
from nilo_schemas.results import STATE_TOPICS
from nilo_schemas.settings import Settings
from nilo_schemas.topics import topic_specs


def test_the_frame_is_confluents() -> None:
    assert frame(258, b"body") == b"\x00\x00\x00\x01\x02body"
    assert schema_id_of(b"\x00\x00\x00\x01\x02") == 258
    assert schema_id_of(frame(2**32 - 1, b"")) == 2**32 - 1


@pytest.mark.parametrize("value", [b"\x00\x00\x00\x01", b"\x01\x00\x00\x00\x01", b"{json}"])
def test_anything_else_is_a_fault_of_framing(value: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        schema_id_of(value)
    assert caught.value.reason is Reason.FRAMING


@pytest.mark.parametrize("value", [None, b""])
def test_a_message_without_value_is_empty(value: bytes | None) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(value, LlmEvent, lambda _: contract(LlmEvent))
    assert caught.value.reason is Reason.EMPTY


def test_errors_say_whether_trying_again_may_help() -> None:
    assert UnreachableError.transient
    assert not SettingsError.transient
    assert issubclass(DecodeError, NiloError)


def test_a_dead_letter_keeps_its_headers_and_tells_its_story() -> None:
    failed = datetime(2026, 1, 1, tzinfo=UTC)
    original = [("traceparent", b"00-ab"), ("traceparent", b"00-cd")]
    headers = dead_letter_headers(
        original,
        topic="events.llm",
        partition=2,
        offset=41,
        connector="postgres",
        stage="SINK",
        reason=Reason.CORRUPT,
        detail="ends too early: é",
        failed_at=failed,
    )
    assert headers[:2] == original
    assert dict(headers[2:]) == {
        "__connect.errors.topic": b"events.llm",
        "__connect.errors.partition": b"2",
        "__connect.errors.offset": b"41",
        "__connect.errors.connector.name": b"postgres",
        "__connect.errors.stage": b"SINK",
        "__connect.errors.exception.message": "ends too early: é".encode(),
        "x-nilo-error-code": b"corrupt",
        "x-nilo-attempt": b"1",
        "x-nilo-first-failed-at": b"2026-01-01T00:00:00+00:00",
    }


def test_a_detail_that_is_no_unicode_still_makes_headers() -> None:
    headers = dead_letter_headers(
        None, topic="t", partition=0, offset=0, connector="c", stage="s",
        reason=Reason.CORRUPT, detail="bad \ud800 text",
    )  # fmt: skip
    assert dict(headers)["__connect.errors.exception.message"] == b"bad ? text"


def test_dead_letters_have_a_topic_behind_the_prefix() -> None:
    assert dead_letter_topic("events.llm") == "dlq.events.llm"
    assert dead_letter_topic("team.events.llm", "team.") == "team.dlq.events.llm"


def test_every_family_has_its_topic_and_its_dead_letters() -> None:
    specs = {spec.name: spec for spec in topic_specs(Settings(topic_prefix="p.", partitions=6))}
    for topic in families():
        assert specs[f"p.{topic}"].partitions == 6
        assert specs[f"p.dlq.{topic}"].partitions == 1
    # Partials have no keys, which a compacted topic would refuse.
    assert specs["p.metrics.partials"].config == {
        "cleanup.policy": "delete",
        "retention.ms": "86400000",
    }
    compacted = {name for name, spec in specs.items() if "compact" in str(spec.config)}
    known = (*STATE_TOPICS, "alerts.state", "alerts.silences", "alerts.notified", "redrives")
    assert compacted == {f"p.{topic}" for topic in known}
    assert specs["p.metrics.windows"].partitions == 6


def test_encoded_bytes_start_with_the_schema_id() -> None:
    event = LlmEvent(type="llm.call", source="s")
    assert schema_id_of(encode(event, 77)) == 77
