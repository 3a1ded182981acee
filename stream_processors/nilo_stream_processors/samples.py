"""Ids of events that an alert is about, looked up at the offsets that its windows name.

The first and the last offset of a stretch are those of events of the very series, so a handful of
single messages is read, and only when an alert fires.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from nilo_schemas.alerts import ACTIVE, Alert
from nilo_schemas.batch import BatchDecoder
from nilo_schemas.clients import kafka_config
from nilo_schemas.errors import NiloError
from nilo_schemas.families import family_of_topic
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

MOST = 5  # of one alert
# Of one commit: when many alerts fire at once, the first ones show what it is about.
MOST_ALERTS, SECONDS = 20, 1.5
_FETCH_BYTES = 64 * 1024
Place = tuple[str, int, int]
log = logging.getLogger(__name__)


class Samples:
    """Reads single messages; an alert whose messages cannot be had in time has no samples."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._registry = settings, Registry(settings)
        self._made: Consumer | None = None
        self._decoders: dict[str, BatchDecoder] = {}

    def added(self, alerts: Sequence[Alert]) -> list[Alert]:
        """The alerts, those that begin to fire with the ids of some of their events."""
        wanted = {alert.id: _places(alert) for alert in alerts if _begins(alert)}
        wanted = dict(list(wanted.items())[:MOST_ALERTS])
        if not wanted:
            return list(alerts)
        try:
            ids = self._ids({place for places in wanted.values() for place in places})
        except (KafkaException, NiloError) as error:
            log.warning("no sample events for %d alerts: %s", len(wanted), error)
            ids = {}
        return [_with_samples(alert, wanted.get(alert.id, ()), ids) for alert in alerts]

    def _ids(self, places: set[Place]) -> dict[Place, str]:
        """The id of the event at each place that could be read."""
        deadline, found = time.monotonic() + SECONDS, {}
        rounds: dict[tuple[str, int], list[int]] = {}
        for topic, partition, offset in sorted(places):
            rounds.setdefault((topic, partition), []).append(offset)
        while any(rounds.values()) and time.monotonic() < deadline:
            asked = {part: offsets.pop(0) for part, offsets in rounds.items() if offsets}
            for message in self._read(asked, deadline):
                place = self._place(message)
                found[place] = self._id(place[0], message)
        return {place: each for place, each in found.items() if each}

    def _read(self, asked: dict[tuple[str, int], int], deadline: float) -> Iterable[Message]:
        prefix, left = self._settings.topic_prefix, dict(asked)
        self._consumer.assign([TopicPartition(prefix + t, p, o) for (t, p), o in asked.items()])
        while left and (wait := deadline - time.monotonic()) > 0:
            message = self._consumer.poll(wait)
            if message is None or message.error() is not None:
                continue
            topic, partition, offset = self._place(message)
            if left.get((topic, partition)) == offset:
                yield message
            # Behind the offset: what was there is deleted.
            if left.get((topic, partition), offset + 1) <= offset:
                del left[topic, partition]
        self._consumer.unassign()

    @property
    def _consumer(self) -> Consumer:
        if self._made is None:
            config = kafka_config(
                self._settings,
                group_id=f"{self._settings.topic_prefix}nilo-samples",  # joined by nobody
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_message_max_bytes=_FETCH_BYTES,
                fetch_wait_max_ms=50,
            )
            self._made = Consumer(config | {"log_level": 0})
        return self._made

    def _place(self, message: Message) -> Place:
        topic = str(message.topic()).removeprefix(self._settings.topic_prefix)
        return topic, int(message.partition() or 0), int(message.offset() or 0)

    def _id(self, topic: str, message: Message) -> str:
        if topic not in self._decoders:
            family = family_of_topic(topic)
            self._decoders[topic] = BatchDecoder(family, self._registry.schema)
        rows = self._decoders[topic].decode([message.value()]).rows
        return str(rows["id"][0].as_py()) if rows.num_rows else ""


def _begins(alert: Alert) -> bool:
    return alert.state in ACTIVE and alert.previous not in ACTIVE


def _places(alert: Alert) -> list[Place]:
    """The ends of the stretches, the last offsets first."""
    ends = [(each.topic, each.partition, each.last_offset) for each in alert.sources]
    ends += [(each.topic, each.partition, each.first_offset) for each in alert.sources]
    return list(dict.fromkeys(place for place in ends if place[2] >= 0))[:MOST]


def _with_samples(alert: Alert, places: Iterable[Place], ids: dict[Place, str]) -> Alert:
    found = [ids[place] for place in places if place in ids]
    return alert.model_copy(update={"samples": found}) if found else alert
