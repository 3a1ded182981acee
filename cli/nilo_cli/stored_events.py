"""The events of a family from a store, or from Kafka itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from nilo_cli.tail_offsets import Span
from nilo_cli.tail_read import read
from nilo_consumers.decoding import Decoder, by_partition
from nilo_consumers.events import STORES, Selection, Values, rows_of
from nilo_consumers.tiers.read import events_archive
from nilo_schemas.envelope import Event
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

KAFKA, ARCHIVE = "kafka", "archive"
_MESSAGES = 2000  # in memory at a time


def stored_events(
    store: str, settings: Settings, family: type[Event], wanted: Selection
) -> Iterator[Values]:
    """The values of a family's events as Avro carries them, in no order.

    Args:
        store: `kafka`, `archive`, or one of nilo_consumers.events.STORES.
        settings: where it is.
        family: whose events.
        wanted: which of them.

    Raises:
        NiloError: the store does not answer, or is none of ours.
    """
    if store == KAFKA:
        return _events_kafka(settings, family, wanted)
    if store == ARCHIVE:
        return events_archive(settings, family, wanted)
    return STORES[store](settings, family, wanted)


def _events_kafka(settings: Settings, family: type[Event], wanted: Selection) -> Iterator[Values]:
    """What the topic holds up to now; what does not decode is no event."""
    decoder = Decoder(settings.topic_prefix, Registry(settings).schema)
    topic = settings.topic_prefix + family.kafka_topic
    messages = read(settings, topic, Span("beginning"), partition=None, exit_at_end=True)
    while some := list(islice(messages, _MESSAGES)):
        for part, group in by_partition(some).items():
            chunk, _ = decoder.chunk(part, 0, group)
            yield from rows_of(chunk.rows.filter(wanted.expression()).select(family.model_fields))
