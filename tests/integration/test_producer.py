"""The SDK against the real broker and registry, read back by a client that we did not write."""

from __future__ import annotations

import os
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from nilo_producers import (
    ClosedError,
    Counts,
    Delivery,
    DeliveryError,
    Incident,
    Producer,
    QueueFullError,
    simulate,
)
from nilo_schemas.clients import kafka_config
from nilo_schemas.errors import ContractError, UnreachableError
from nilo_schemas.families import LlmEvent, SystemEvent, TradeEvent, UiEvent
from nilo_schemas.settings import Settings
from tests.integration.programs import free_port

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("events.llm", "events.system", "events.trade", "events.ui"),
]
START = datetime(2026, 1, 1, 15, tzinfo=UTC)


def fleet(count: int) -> list[LlmEvent]:
    return list(islice(simulate(1, 1000, 3600, START, Incident()), count))


def messages_in(settings: Settings, topic: str) -> list[Any]:
    """Every message that a topic holds now."""
    consumer: Any = Consumer(kafka_config(settings, group_id=uuid.uuid4().hex))
    name = settings.topic_prefix + topic
    messages: list[Any] = []
    partitions = [TopicPartition(name, p, 0) for p in range(settings.partitions)]
    left = sum(consumer.get_watermark_offsets(partition)[1] for partition in partitions)
    consumer.assign(partitions)
    while left > len(messages):
        message = consumer.poll(30)
        assert message is not None, f"{len(messages)} of {left} messages within 30 s"
        assert message.error() is None
        messages.append(message)
    consumer.close()
    return messages


def by_confluent(settings: Settings) -> Callable[[Any], dict[str, Any]]:
    """Confluent's own deserializer, which knows of us only what the registry says."""
    client = SchemaRegistryClient({"url": settings.registry_url()})
    decode = cast("Callable[..., dict[str, Any]]", AvroDeserializer(client))  # pyright: ignore[reportCallIssue]  its annotations deny its arguments
    return lambda message: decode(
        message.value(), SerializationContext(message.topic(), MessageField.VALUE)
    )


def values_in(settings: Settings, topic: str) -> list[dict[str, Any]]:
    decode = by_confluent(settings)
    return [decode(message) for message in messages_in(settings, topic)]


def away(settings: Settings) -> Settings:
    """The same settings, with a broker where nobody listens."""
    return settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{free_port()}"})


def test_every_event_arrives_once_and_confluents_client_reads_it_equal(settings: Settings) -> None:
    sent = {event.id: event for event in fleet(5000)}

    with Producer(settings) as producer:
        for event in sent.values():
            producer.emit(event)

    got = values_in(settings, "events.llm")
    assert len(got) == len(sent)
    assert {values["id"]: LlmEvent.from_avro(values) for values in got} == sent
    assert producer.counts == Counts(delivered=5000, failed=0, queued=0)


def test_families_go_to_their_topics(settings: Settings) -> None:
    events = [
        UiEvent(type="ui.view", source="t", page="/"),
        TradeEvent(type="trade.gate", source="t", gate="risk", gate_passed=False),
        SystemEvent(type="log.record", source="t", message="m"),
    ]

    with Producer(settings) as producer:
        for event in events:
            producer.emit(event)

    for event in events:
        (values,) = values_in(settings, event.kafka_topic)
        assert type(event).from_avro(values) == event


def test_a_message_has_key_headers_and_the_time_of_its_sending(settings: Settings) -> None:
    """An old event time as Kafka timestamp would let retention delete the event at once."""
    event = LlmEvent(type="llm.call", source="svc", subject="agent-1", time=START)
    before = datetime.now(UTC).timestamp() * 1000 - 1000

    with Producer(settings) as producer:
        producer.emit(event)

    (message,) = messages_in(settings, "events.llm")
    assert message.key() == b"agent-1"
    assert dict(message.headers()) == {
        "ce_specversion": b"1.0",
        "content-type": b"application/avro",
        "ce_id": event.id.encode(),
        "ce_type": b"llm.call",
        "ce_source": b"svc",
    }
    assert message.timestamp()[1] >= before


def test_a_key_stays_in_one_partition_and_in_order(settings: Settings) -> None:
    events = fleet(3000)

    with Producer(settings) as producer:
        for event in events:
            producer.emit(event)

    places: dict[bytes, set[int]] = {}
    order: dict[str, list[str]] = {}
    decode = by_confluent(settings)
    for message in messages_in(settings, "events.llm"):
        places.setdefault(message.key(), set()).add(message.partition())
        values = decode(message)
        order.setdefault(values["subject"], []).append(values["id"])
    assert all(len(partitions) == 1 for partitions in places.values())
    assert {p for partitions in places.values() for p in partitions} == set(
        range(settings.partitions)
    )
    assert order == {
        key: [event.id for event in events if event.key == key]
        for key in {event.key for event in events}
    }


def test_each_event_has_one_report_with_its_place(settings: Settings) -> None:
    reports: list[Delivery] = []
    events = fleet(500)

    with Producer(settings, on_delivery=reports.append) as producer:
        for event in events:
            producer.emit(event)

    decode = by_confluent(settings)
    placed = {
        decode(m)["id"]: (
            m.topic(),
            m.partition(),
            m.offset(),
        )
        for m in messages_in(settings, "events.llm")
    }
    assert len(reports) == 500
    assert {r.event_id: (r.topic, r.partition, r.offset) for r in reports} == placed
    assert {r.error for r in reports} == {None}


def test_a_callback_that_raises_stops_nothing(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(delivery: Delivery) -> None:
        raise RuntimeError(delivery.event_id)

    with Producer(settings, on_delivery=broken) as producer:
        for event in fleet(10):
            producer.emit(event)

    assert producer.counts.delivered == 10
    assert sum("on_delivery failed" in record.message for record in caplog.records) == 10


def test_threads_share_a_producer(settings: Settings) -> None:
    events = fleet(4000)
    reports: list[str] = []

    with Producer(settings, on_delivery=lambda d: reports.append(d.event_id)) as producer:

        def emit(part: list[LlmEvent]) -> None:
            for event in part:
                producer.emit(event)

        threads = [threading.Thread(target=emit, args=(events[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert producer.counts == Counts(4000, 0, 0)
    assert Counter(reports) == Counter(event.id for event in events)
    assert len(messages_in(settings, "events.llm")) == 4000


def test_flush_tells_what_is_still_on_its_way(settings: Settings) -> None:
    producer = Producer(away(settings), delivery_timeout=60)
    for event in fleet(7):
        producer.emit(event)

    assert producer.flush(0.2) == 7
    assert producer.counts == Counts(0, 0, 7)
    with pytest.raises(DeliveryError) as caught:
        producer.close(0.1)
    assert caught.value.count == 7
    assert set(caught.value.event_ids) == {event.id for event in fleet(7)}


def test_an_event_that_cannot_be_delivered_is_reported_with_its_id(settings: Settings) -> None:
    reports: list[Delivery] = []
    (event,) = fleet(1)

    producer = Producer(away(settings), on_delivery=reports.append, delivery_timeout=1)
    producer.emit(event)
    left = producer.flush()

    assert left == 0
    assert producer.counts == Counts(delivered=0, failed=1, queued=0)
    (report,) = reports
    assert (report.event_id, report.offset) == (event.id, None)
    assert report.error
    assert "timed out" in report.error


def test_undelivered_events_at_the_end_raise_and_name_the_broker(settings: Settings) -> None:
    nowhere = away(settings)
    events = fleet(3)

    def lose() -> None:
        with Producer(nowhere, delivery_timeout=1) as producer:
            for event in events:
                producer.emit(event)

    with pytest.raises(DeliveryError, match="3 of 3 events were not delivered") as caught:
        lose()

    assert nowhere.brokers() in str(caught.value)
    assert set(caught.value.event_ids) == {event.id for event in events}


def test_an_error_within_the_block_is_kept_and_the_loss_noted_on_it(settings: Settings) -> None:
    def lose() -> None:
        with Producer(away(settings), delivery_timeout=1) as producer:
            producer.emit(fleet(1)[0])
            raise KeyError("the program's own")

    with pytest.raises(KeyError) as caught:
        lose()

    assert "1 of 1 events were not delivered" in "".join(caught.value.__notes__)


def test_a_full_queue_is_an_error_and_the_event_is_not_counted(settings: Settings) -> None:
    nowhere = away(settings)
    producer = Producer(nowhere, queue_size=5, queue_timeout=0.3)
    events = fleet(6)
    for event in events[:5]:
        producer.emit(event)

    with pytest.raises(QueueFullError, match="queue of 5 events stayed full") as caught:
        producer.emit(events[5])

    assert nowhere.brokers() in str(caught.value)
    assert producer.counts.queued == 5
    with pytest.raises(DeliveryError) as lost:
        producer.close(0.1)
    assert lost.value.count == 5


def test_a_small_queue_slows_emit_down_and_loses_nothing(settings: Settings) -> None:
    with Producer(settings, queue_size=50) as producer:
        for event in fleet(2000):
            producer.emit(event)

    assert len(messages_in(settings, "events.llm")) == 2000


def test_an_event_too_large_for_kafka_is_refused_and_not_counted(settings: Settings) -> None:
    event = SystemEvent(type="log.record", source="t", message="x" * 2_000_000)

    with Producer(settings) as producer:
        with pytest.raises(DeliveryError, match="Message size too large") as caught:
            producer.emit(event)
        assert producer.counts == Counts(0, 0, 0)

    assert caught.value.event_ids == (event.id,)


def test_a_closed_producer_takes_no_more(settings: Settings) -> None:
    producer = Producer(settings)
    producer.close()
    producer.close()

    with pytest.raises(ClosedError):
        producer.emit(fleet(1)[0])


def test_a_producer_behind_a_fork_says_so(settings: Settings) -> None:
    with Producer(settings) as producer:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                producer.emit(fleet(1)[0])
            except ClosedError:
                os.write(write, b"refused")
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)

    assert os.read(read, 100) == b"refused"
    os.close(read)


def test_a_contract_that_nobody_registered_names_the_command(settings: Settings) -> None:
    other = settings.model_copy(update={"topic_prefix": "unregistered."})

    with Producer(other) as producer:
        with pytest.raises(ContractError, match="nilo schemas register"):
            producer.emit(fleet(1)[0])
        assert producer.counts.queued == 0


def test_a_class_of_its_own_with_a_taken_topic_is_refused(settings: Settings) -> None:
    class MyEvent(LlmEvent):
        extra_field: str = "x"

    with Producer(settings) as producer, pytest.raises(ContractError, match="not the family of"):
        producer.emit(MyEvent(type="llm.call", source="t"))


def test_what_is_no_event_is_refused(settings: Settings) -> None:
    with Producer(settings) as producer, pytest.raises(TypeError, match="not dict"):
        producer.emit({"type": "llm.call"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  that is the point


def test_a_registry_that_is_away_is_said_at_the_first_event(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"schema_registry_url": f"http://127.0.0.1:{free_port()}"})

    with Producer(nowhere) as producer, pytest.raises(UnreachableError, match="does not answer"):
        producer.emit(fleet(1)[0])
