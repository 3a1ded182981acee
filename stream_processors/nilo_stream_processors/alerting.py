"""Stage 3: the final windows of a partition become transitions of alerts, on `alerts`.

It is part of stage 2: rules look at windows where these close, and what they learn is written with
the state of that partition, in one generation. So an alert is as exact as the windows, and moves
with the partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from nilo_schemas.alerts import STATE_TOPIC, Alert
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.codec import encode
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from nilo_stream_processors.blobs import Named, packed, unpacked
from nilo_stream_processors.counters import Counters
from nilo_stream_processors.engine.detect.detection import Detection
from nilo_stream_processors.engine.merged import Published
from nilo_stream_processors.outbox import Outbox
from nilo_stream_processors.samples import Samples

_OUTGOING = "outgoing"
_SAID = pa.schema({"alert": pa.string(), "forgotten": pa.string()})


@dataclass
class Outgoing:
    """What a generation says, in order: transitions, and fingerprints of alerts forgotten."""

    said: list[Alert | str] = field(default_factory=list)

    def stored(self) -> Iterator[Named]:
        """It as a part of the state: the worker may die before it is published."""
        if not self.said:
            return
        rows = [
            {"forgotten": each} if isinstance(each, str) else {"alert": each.model_dump_json()}
            for each in self.said
        ]
        yield _OUTGOING, pa.RecordBatch.from_pylist(rows, schema=_SAID)

    def restore(self, batch: pa.RecordBatch) -> None:
        """Put back what was stored."""
        for row in batch.to_pylist():
            text, forgotten = row["alert"], row["forgotten"]
            self.said.append(forgotten if text is None else Alert.model_validate_json(text))

    def alerts(self) -> list[Alert]:
        """The transitions alone."""
        return [each for each in self.said if isinstance(each, Alert)]

    def replace(self, alerts: Iterable[Alert]) -> None:
        """Put these in the places of the transitions."""
        rest = iter(alerts)
        self.said = [next(rest) if isinstance(each, Alert) else each for each in self.said]


class Alerting:
    """The rules at work on the partitions that this worker owns."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        registry: Registry,
        *,
        outbox: Outbox,
        counters: Counters,
    ) -> None:
        self._catalogue, self._cap, self._registry = catalogue, settings.series_cap, registry
        self._outbox, self._counters = outbox, counters
        self._topic = settings.topic_prefix + Alert.kafka_topic
        self._state_topic = settings.topic_prefix + STATE_TOPIC
        self._samples = Samples(settings)
        self._detections: dict[int, Detection] = {}
        self._outgoing: dict[int, Outgoing] = {}

    def clear(self) -> None:
        """Forget all partitions: their state is to be recovered."""
        self._detections.clear()
        self._outgoing.clear()

    def detection(self, partition: int) -> Detection:
        """The rules at work on a partition."""
        if partition not in self._detections:
            self._detections[partition] = Detection(self._catalogue, self._cap)
        return self._detections[partition]

    def look(
        self,
        partition: int,
        published: Iterable[tuple[Published, pa.RecordBatch]],
        clocks: dict[str, int],
    ) -> None:
        """Look at the windows that are published now, up to the clock of each topic."""
        detection = self.detection(partition)
        for windows, batch in published:
            if windows.late:
                continue
            if windows.final.any() and detection.wants(windows.name, windows.window):
                final = batch if windows.final.all() else batch.filter(pa.array(windows.final))
                detection.add(windows.name, windows.window, final)
        alerts = [
            alert for topic in detection.topics for alert in detection.advance(topic, clocks[topic])
        ]
        # After a recovery it still holds what the last worker may not have published.
        outgoing = self._outgoing.setdefault(partition, Outgoing())
        outgoing.said += [*alerts, *detection.take_forgotten()]
        self._counters.alerts(alerts)
        self._counters.capped_alerts(detection.take_capped())

    def stored(self, partition: int, *, all_of_it: bool) -> Iterator[pa.RecordBatch]:
        """What to keep of a partition: what the rules know, and what is to be published."""
        outgoing = self._outgoing.get(partition, Outgoing())
        detection = self.detection(partition)
        yield from packed([*detection.stored(all_of_it=all_of_it), *outgoing.stored()])

    def header(self, partition: int) -> dict[str, Any]:
        """How far the rules are: goes with the state."""
        return self.detection(partition).header()

    def restore(
        self, partition: int, header: dict[str, Any], parts: Iterable[tuple[pa.RecordBatch, bool]]
    ) -> None:
        """Put back the state of a partition; what its last generation said is said once more."""
        detection, outgoing = self.detection(partition), Outgoing()
        detection.begin_restore(header)
        for batch, last in parts:
            for name, each in unpacked(batch):
                if name != _OUTGOING:
                    detection.restore(name, each)
                elif last:
                    outgoing.restore(each)
        self._outgoing[partition] = outgoing

    def add_samples(self) -> None:
        """Look up ids of events that show what alerts are about; takes a second or two at most."""
        for outgoing in self._outgoing.values():
            outgoing.replace(self._samples.added(outgoing.alerts()))

    def publish(self) -> None:
        """Send the transitions, and to the compacted topic what the alerts are now."""
        for outgoing in self._outgoing.values():
            schema_id = self._registry.schema_id(Alert) if outgoing.alerts() else 0
            states = [_message(each, schema_id) for each in outgoing.said]
            told = [(key, value) for key, value in states if value is not None]
            self._outbox.send_all(self._topic, told)
            self._outbox.send_all(self._state_topic, states)
        self._outgoing.clear()


def _message(said: Alert | str, schema_id: int) -> tuple[bytes, bytes | None]:
    """Key and value for the compacted topic: a tombstone for an alert that is forgotten."""
    if isinstance(said, str):
        return said.encode(), None
    return said.fingerprint.encode(), encode(said, schema_id)
