"""`nilo alerts why` on events of three families, held by Kafka, by PostgreSQL, by nobody."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from nilo_schemas.alerts import Alert
from nilo_schemas.clients import kafka_config
from nilo_schemas.families import LlmEvent, SystemEvent, VectorEvent
from nilo_schemas.results import SourceRange
from nilo_schemas.settings import Settings
from tests.alerts import BEGUN, an_alert, publish
from tests.integration.programs import nilo
from tests.integration.sinking import send, sinking, wait_count

pytestmark = pytest.mark.integration
TRACE, OTHER_TRACE, SPAN, PARENT = "a" * 32, "b" * 32, "c" * 16, "d" * 16
LABELS = {"provider": "acme", "model": "atlas"}


def at(seconds: float) -> Any:
    return BEGUN + timedelta(seconds=seconds)


def calls() -> list[LlmEvent]:
    """Calls of two models; that at offset 5 is the slowest of atlas, that at 7 has failed."""
    durations = [0.4, 7.0, 5.5, 6.0, 9.0, 8.0, 0.5, 3.0, 5.6, 5.7]
    return [
        LlmEvent(
            type="llm.call",
            id=f"call-{number}",
            source="agent",
            subject=f"user-{number}",
            time=at(10 * number - 20),
            provider="acme",
            model="pico" if number == 4 else "atlas",
            status="ERROR" if number == 7 else "OK",
            duration=timedelta(seconds=duration),
            trace_id=TRACE if number == 5 else None,
            parent_span_id=SPAN if number == 5 else None,
        )
        for number, duration in enumerate(durations)
    ]


def tell_the_story(settings: Settings) -> Alert:
    """A circuit opens, so a search fails, so a call is slow; two alerts, of searches and calls."""
    breaker = SystemEvent(
        type="circuit.opened", id="breaker", source="infra", component="store-3", time=at(-60)
    )
    noise = SystemEvent(type="circuit.closed", id="noise", source="infra", time=at(-61))
    search = VectorEvent(
        type="vector.search", id="search", source="agent", store="s3", collection="c",
        time=at(28), status="ERROR", causation_id="breaker",
        trace_id=TRACE, span_id=SPAN, parent_span_id=PARENT,
    )  # fmt: skip
    other = VectorEvent(
        type="vector.search", id="unrelated", source="agent", time=at(1), status="ERROR",
        trace_id=OTHER_TRACE,
    )  # fmt: skip
    send(settings, [noise, breaker, search, other, *calls()], partition=0)
    slow = an_alert(
        rule_hash="old",
        labels=LABELS,
        sources=[SourceRange(topic="events.llm", partition=0, first_offset=1, last_offset=8)],
    )
    opened = an_alert(
        rule="CircuitOpen", metric="system.circuits", aggregate="count", unit="",
        labels={"type": "circuit.opened", "component": "store-3"},
        starts_at=at(-120), time=at(-50), window_start=at(-120), window_end=at(0),
        sources=[SourceRange(topic="events.system", partition=0, first_offset=0, last_offset=1)],
    )  # fmt: skip
    publish(settings, [opened, slow])
    return slow


def why(settings: Settings, *words: str) -> dict[str, Any]:
    done = nilo(settings, "alerts", "why", *words, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def shown(account: dict[str, Any]) -> list[str]:
    return [each["event"]["id"] for each in account["events"]["shown"]]


def delete(settings: Settings, topic: str, before: int) -> None:
    admin = AdminClient(kafka_config(settings))
    place = TopicPartition(settings.topic_prefix + topic, 0, before)
    for deleted in admin.delete_records([place]).values():
        deleted.result(30)


def test_an_alert_is_followed_from_its_events_to_the_earliest_anomaly(settings: Settings) -> None:
    alert = tell_the_story(settings)
    account = why(settings, alert.fingerprint, "--events", "4")

    assert account["alert"]["id"] == alert.id
    assert (account["found_in"], account["rule"]) == ("kafka", "changed")
    # Not those of the other model, not those before or behind the time of the alert.
    assert account["events"]["total"] == 6
    assert shown(account) == ["call-7", "call-5", "call-3", "call-8"]
    assert account["events"]["from"] == {"kafka": 6}
    causes = {each["id"]: each["caused_by"] for each in account["upstream"]["events"]}
    assert (causes["call-5"], causes["search"], causes["breaker"]) == ("search", "breaker", None)
    assert not {"unrelated", "noise"} & set(causes)
    earliest = account["upstream"]["earliest"]
    assert (earliest["event"]["id"], earliest["alert"]["rule"]) == ("breaker", "CircuitOpen")
    followed = why(settings, earliest["alert"]["id"])
    assert shown(followed) == ["breaker"]
    assert followed["upstream"]["earliest"] is None


def test_what_kafka_has_deleted_comes_from_postgresql(settings: Settings) -> None:
    alert = tell_the_story(settings)
    with sinking("postgres", settings):
        wait_count("postgres", settings, len(calls()))
        wait_count("postgres", settings, 2, "events.vector")
        wait_count("postgres", settings, 2, "events.system")
    whole = why(settings, alert.id)
    for topic, before in (("events.llm", 6), ("events.vector", 2), ("events.system", 2)):
        delete(settings, topic, before)

    account = why(settings, alert.id)
    assert account["events"]["from"] == {"kafka": 3, "postgres": 3}
    assert shown(account) == shown(whole)
    assert account["events"]["lost"] == []
    delete(settings, "events.llm", 10)
    account = why(settings, alert.id)
    assert account["events"]["from"] == {"postgres": 6}
    assert account["upstream"]["from"] == "postgres"
    assert account["upstream"]["earliest"]["event"]["id"] == "breaker"


def test_events_that_nobody_holds_any_more_are_said_to_be_lost(settings: Settings) -> None:
    alert = tell_the_story(settings)
    delete(settings, "events.llm", 4)

    account = why(settings, alert.id)
    (lost,) = account["events"]["lost"]
    assert (lost["first_offset"], lost["last_offset"]) == (1, 3)
    assert account["events"]["from"] == {"kafka": 4}


def delete_all(settings: Settings, topic: str) -> None:
    admin = AdminClient(kafka_config(settings))
    name = settings.topic_prefix + topic
    places = [TopicPartition(name, number, -1) for number in range(settings.partitions)]
    for deleted in admin.delete_records(places).values():
        deleted.result(30)


def test_the_board_and_the_lake_will_do_where_nobody_else_has_anything(settings: Settings) -> None:
    alert = tell_the_story(settings)
    with sinking("parquet", settings, topics=["events.llm"]):
        wait_count("parquet", settings, len(calls()))
    delete_all(settings, "events.llm")
    delete_all(settings, "alerts")

    account = why(settings, alert.fingerprint)
    assert account["found_in"] == "the board"
    assert account["events"]["from"] == {"parquet": 6}
    assert shown(account)[:2] == ["call-7", "call-5"]


@pytest.mark.parametrize("store", ["postgres", "parquet"])
def test_an_alert_that_kafka_has_deleted_comes_from_a_store(settings: Settings, store: str) -> None:
    alert = an_alert()
    publish(settings, [alert], topics=["alerts"])
    with sinking(store, settings, topics=["alerts"]):
        wait_count(store, settings, 1, "alerts")
    delete_all(settings, "alerts")

    account = why(settings, alert.fingerprint)
    assert (account["found_in"], account["alert"]["id"]) == (store, alert.id)
    assert account["alert"]["labels"] == alert.labels


def test_an_unknown_alert_is_refused_with_a_way_out(settings: Settings) -> None:
    done = nilo(settings, "alerts", "why", "0123456789abcdef")
    assert done.returncode == 2
    assert "nilo alerts list --all" in done.stderr
