"""What our programs say about themselves, on the real broker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nilo_deploy import start_server, stop_server
from nilo_producers import Counts, DeliveryError, Producer
from nilo_schemas import reports
from nilo_schemas.alerts import Alert
from nilo_schemas.families import LlmEvent, SystemEvent
from nilo_schemas.settings import Settings
from tests.alerts import published
from tests.integration.conformance.tables import Postgres
from tests.integration.own_reports import own_reports
from tests.integration.programs import free_port, healthy, running, wait_for
from tests.integration.sinking import calls, send, sinking, wait_count

pytestmark = pytest.mark.integration


@pytest.fixture
def talking(settings: Settings) -> Settings:
    """Settings with which programs report on themselves, and often."""
    return settings.model_copy(update={"report_every": 0.3})


def health(settings: Settings) -> list[SystemEvent]:
    """How the sink said that it was, one after the other."""
    found = [event for event in own_reports(settings) if event.type == "health.changed"]
    assert {(event.component, event.source) for event in found} <= {("sink-postgres", "nilometer")}
    return found


def is_away(event: SystemEvent) -> bool:
    return event.status == "failing" and "PostgreSQL" in (event.message or "")


def test_a_sink_tells_of_its_database_that_is_away_and_when_it_is_back(
    talking: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Postgres(talking, monkeypatch)
    with sinking("postgres", talking) as sink:
        calls(talking, 100)
        wait_count("postgres", talking, 100)
        with case.away():
            calls(talking, 100)
            wait_for("trouble is told", lambda: any(map(is_away, health(talking))))
        wait_count("postgres", talking, 200)
        wait_for("it is well", lambda: health(talking)[-1].status == "ok")
        wait_for("rows told", lambda: stored(talking) == 200)
        assert sink.thread.is_alive()


def stored(settings: Settings) -> int:
    """How many calls the sink says that it has stored."""
    return sum(
        event.sample_rate
        for event in own_reports(settings)
        if (event.subject, event.attributes.get("measure")) == ("events.llm", "events_in")
    )


def test_a_sink_that_stores_its_own_reports_falls_silent(talking: Settings) -> None:
    """The reports are rows too, and so are their windows: nobody may tell of these."""
    with sinking("sqlite", talking):
        calls(talking, 10)
        wait_count("sqlite", talking, 10)
        wait_for("rows told", lambda: stored(talking) == 10)
        told = wait_for("a row of it", lambda: count(talking))
        wait_count("sqlite", talking, told, SystemEvent.kafka_topic)
        calls(talking, 5)
        wait_for("the others told", lambda: stored(talking) == 15)

    events = [event for event in own_reports(talking) if event.type == "resource.sampled"]
    assert {event.subject for event in events} == {"events.llm"}


def count(settings: Settings) -> int:
    """How many reports there are."""
    return len(own_reports(settings))


def call() -> LlmEvent:
    return LlmEvent(type="llm.call", source="shop")


def polled(producer: Producer) -> Producer:
    """A producer after it took in what has come."""
    producer.poll(0.1)
    return producer


def measured(settings: Settings, measure: str) -> list[SystemEvent]:
    """What producers said, in the order of time."""
    found = [each for each in own_reports(settings) if each.attributes.get("measure") == measure]
    assert {(event.component, event.subject) for event in found} <= {("producer", "shop")}
    return sorted(found, key=lambda event: event.time)


def test_a_producer_tells_of_drops_and_of_its_full_queue_once_the_broker_is_back(
    own_stack: Settings,
) -> None:
    talking = own_stack.model_copy(update={"report_every": 0.2})
    dropping = Producer(talking, delivery_timeout=1)
    filling = Producer(talking, queue_size=100)
    for producer in (dropping, filling):
        producer.emit(call())
        assert producer.flush() == 0
    stop_server(own_stack.home, "kafka-1")
    for _ in range(5):
        dropping.emit(call())
    wait_for("failures", lambda: polled(dropping).counts.failed == 5)
    for _ in range(60):
        filling.emit(call())
    # Reports come until one place is left, and leave that to an event.
    wait_for("reports", lambda: polled(filling).queue_fill == 0.99)
    for _ in range(10):
        assert polled(filling).queue_fill < 1
    wait_for("reports", lambda: polled(filling).queue_fill == 0.99)
    filling.emit(call())
    assert filling.queue_fill == 1.0
    start_server(own_stack.home, "kafka-1")
    assert filling.flush() == 0
    wait_for("the last report", lambda: polled(filling) and last_fill(talking) < 0.5)
    wait_for("drops", lambda: polled(dropping) and measured(talking, "dropped"))

    drops = measured(talking, "dropped")
    assert [(event.sample_rate, event.attributes["topic"]) for event in drops] == [
        (5, "events.llm")
    ]
    fills = [event.fill or 0.0 for event in measured(talking, "queue_fill")]
    assert 0.5 <= fills[0] <= max(fills) < 1
    assert filling.counts == Counts(delivered=62, failed=0, queued=0)
    filling.close()


def last_fill(settings: Settings) -> float:
    """What a producer said of its queue last."""
    fills = measured(settings, "queue_fill")
    return 1.0 if not fills else (fills[-1].fill or 0.0)


def test_a_producer_tells_of_what_it_refused(settings: Settings) -> None:
    with Producer(settings.model_copy(update={"report_every": 0.1})) as producer:
        with pytest.raises(DeliveryError):
            producer.emit(SystemEvent(type="log.record", source="shop", message="x" * 2_000_000))
        assert producer.queue_fill == 0

    (event,) = measured(settings, "dropped")
    assert (event.sample_rate, event.attributes["topic"]) == (1, "events.system")


def test_a_producer_that_is_told_to_be_silent_is(settings: Settings) -> None:
    producer = Producer(settings)
    with pytest.raises(DeliveryError):
        producer.emit(SystemEvent(type="log.record", source="shop", message="x" * 2_000_000))
    producer.close()

    assert own_reports(settings) == []


START = datetime(2026, 1, 1, tzinfo=UTC)


def troubled(minutes: int) -> Iterator[SystemEvent]:
    """What programs say in so many minutes in which all goes wrong."""
    for minute in range(minutes):
        for event in (
            reports.sampled("processors", "events.llm", "events_in", sample_rate=1000),
            reports.sampled("processors", "events.llm", "lag", queue_depth=50_000),
            reports.sampled("processors", "events.llm", "late", sample_rate=20),
            reports.sampled("processors", "events.llm", "future", sample_rate=5),
            reports.sampled("sink-sqlite", "events.ui", "dead_letters", sample_rate=50),
            reports.sampled("producer", "shop", "queue_fill", fill=0.97),
            reports.sampled("producer", "shop", "dropped", topic="events.ui", sample_rate=3),
            reports.health("sink-postgres", "postgres", "failing", "no answer"),
            reports.health("processors", "events.chat", "stuck", "events.chat/0"),
        ):
            yield event.model_copy(update={"time": START + timedelta(minutes=minute, seconds=30)})


def test_the_shipped_rules_fire_on_what_programs_say(settings: Settings, tmp_path: Path) -> None:
    rules = {
        *("LagGrowing", "LateShare", "ClockSkew", "DlqFilling", "SinkFailing", "WorkerStuck"),
        *("ProducerDrops", "ProducerQueueFilling", "ProducerQueueFull"),
    }
    send(settings, troubled(7))
    port = free_port()
    with running(settings, "process", "--metrics-port", port, log=tmp_path / "log"):
        wait_for("worker", lambda: healthy(port))
        wait_for("all alerts", lambda: {alert.rule for alert in firing(settings)} >= rules)

    assert {alert.rule for alert in firing(settings)} == rules
    for alert in firing(settings):
        assert "{" not in alert.summary + alert.advice
        assert alert.samples, alert.rule


def firing(settings: Settings) -> list[Alert]:
    """The alerts that began to fire."""
    return [alert for alert in published(settings) if alert.state == "firing"]
