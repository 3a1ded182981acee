"""Alerts made by hand, and put where detection puts them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Producer

from nilo_schemas.alerts import ACTIVE, STATE_TOPIC, Alert, AlertState, Silence, fingerprint_of
from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import decode, encode
from nilo_schemas.registry import Registry
from nilo_schemas.results import SourceRange
from nilo_schemas.settings import Settings
from tests.integration.windows import read_topic

BEGUN = datetime(2025, 6, 1, 12, tzinfo=UTC)
PUBLISHED = Alert.kafka_topic, STATE_TOPIC


def an_alert(**fields: Any) -> Alert:
    """A firing alert of a slow model; id, fingerprint and end follow from what is given."""
    given: dict[str, Any] = {
        "rule": "LlmSlow",
        "kind": "threshold",
        "severity": "critical",
        "state": AlertState.FIRING,
        "previous": AlertState.PENDING,
        "revision": 2,
        "time": BEGUN + timedelta(minutes=2),
        "starts_at": BEGUN,
        "labels": {"model": "atlas"},
        "metric": "llm.duration",
        "aggregate": "p95",
        "unit": "seconds",
        "window": "1m",
        "window_start": BEGUN + timedelta(minutes=1),
        "window_end": BEGUN + timedelta(minutes=2),
        "value": 6.5,
        "threshold": 5.0,
        "summary": "p95 of llm.duration is 6.5 seconds, above 5",
        "reason": "above 5 since 12:00",
        "rule_hash": "0123456789abcdef",
        "sources": [SourceRange(topic="events.llm", partition=0, first_offset=0, last_offset=9)],
    } | fields
    given.setdefault("fingerprint", fingerprint_of(given["rule"], given["labels"]))
    given.setdefault("id", f"{given['fingerprint']}-{given['revision']}")
    if given["state"] not in ACTIVE | {AlertState.PENDING}:
        given.setdefault("ends_at", given["time"])
    return Alert.model_validate(given)


def publish(
    settings: Settings, alerts: Iterable[Alert], *, topics: Iterable[str] = PUBLISHED
) -> None:
    """Put transitions into `alerts` and `alerts.state`, in their order."""
    schema_id = Registry(settings).schema_id(Alert)
    values = [(alert.fingerprint, encode(alert, schema_id)) for alert in alerts]
    for topic in topics:
        _produce(settings, topic, values)


def say(settings: Settings, *silences: Silence) -> None:
    """Put silences and acknowledgements into their topic."""
    schema_id = Registry(settings).schema_id(Silence)
    values = [(silence.id, encode(silence, schema_id)) for silence in silences]
    _produce(settings, Silence.kafka_topic, values)


def forget(settings: Settings, topic: str, *keys: str) -> None:
    """Put tombstones into a compacted topic."""
    _produce(settings, topic, [(key, None) for key in keys])


def _produce(settings: Settings, topic: str, values: Iterable[tuple[str, bytes | None]]) -> None:
    producer = Producer(kafka_config(settings, acks="all", partitioner="murmur2_random"))
    for key, value in values:
        producer.produce(settings.topic_prefix + topic, value, key)
    assert producer.flush(60) == 0


def published(settings: Settings) -> list[Alert]:
    """Every transition on `alerts` now, in event time; one that was sent again comes again."""
    schema = Registry(settings).schema
    found = [decode(each.value(), Alert, schema) for each in read_topic(settings, "alerts")]
    return sorted(found, key=lambda alert: (alert.time, alert.rule, alert.id))
