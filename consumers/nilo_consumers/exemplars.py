"""Exemplars: with each counter of events the trace id of one of them, and where it lies in Kafka.

A window says which stretches of which partitions it was computed from; the last event of the first
stretch is read for it. So windows need not carry trace ids, and what is read does not grow with the
events, only with the series.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confluent_kafka import Message
from prometheus_client.samples import Exemplar

from nilo_consumers.asking import Asker
from nilo_consumers.decoding import Decoder
from nilo_consumers.series import WindowCollector
from nilo_schemas.groups import Place
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

MOST = 100  # events read in one round
_LONGEST = 128  # characters of all labels: OpenMetrics, Exemplars
Wanted = dict[str, tuple[Place, int]]


class Exemplars:
    """Reads the events for the exemplars of a collector's counters."""

    def __init__(self, settings: Settings, collector: WindowCollector) -> None:
        self._prefix, self._collector = settings.topic_prefix, collector
        self._decoder = Decoder(settings.topic_prefix, Registry(settings).schema)
        self._read: Wanted = {}

    def read(self, asker: Asker) -> None:
        """Read events of series whose window has changed, those first that have no exemplar yet."""
        wanted = {key: self._place(found) for key, found in self._collector.sources().items()}
        self._read = {key: at for key, at in self._read.items() if key in wanted}
        changed = [key for key, at in wanted.items() if self._read.get(key) != at]
        changed.sort(key=self._read.__contains__)
        for keys in _rounds({key: wanted[key] for key in changed[:MOST]}):
            messages = asker.first_messages(dict(wanted[key] for key in keys))
            for key in keys:
                self._show(key, wanted[key], messages.get(wanted[key][0]))

    def _place(self, source: dict[str, Any]) -> tuple[Place, int]:
        place = self._prefix + source["topic"], source["partition"]
        return place, source["last_offset"]

    def _show(self, key: str, at: tuple[Place, int], message: Message | None) -> None:
        if message is None:
            return  # it comes in the next round
        self._read[key] = at
        place, offset = at
        if message.offset() == offset:  # else the retention has taken it
            self._collector.show_exemplar(key, self._exemplar(place, offset, message))

    def _exemplar(self, place: Place, offset: int, message: Message) -> Exemplar | None:
        rows = self._decoder.chunk(place, offset, [message])[0].rows.to_pylist()
        if not rows or rows[0]["trace_id"] is None:
            return None
        labels = {"trace_id": rows[0]["trace_id"], "src": f"{place[0]}/{place[1]}/{offset}"}
        if sum(len(name) + len(text) for name, text in labels.items()) > _LONGEST:
            del labels["src"]
        return Exemplar(labels, 1.0, rows[0]["time"].timestamp())


def _rounds(wanted: Wanted) -> Iterator[list[str]]:
    """The keys so cut that a partition is read at one offset in each round."""
    left = dict(wanted)
    while left:
        by_place = {place: key for key, (place, _) in left.items()}
        keys = list(by_place.values())
        yield keys
        for key in keys:
            del left[key]
