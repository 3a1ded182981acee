"""Stage 2 in Faust: chunks of `metrics.partials` become windows on `metrics.windows`."""

from __future__ import annotations

import json
import re
from typing import Any

import faust
import numpy as np
import pyarrow as pa
import pyruhvro
from faust.types import TP

from nilo_schemas.catalogue import Catalogue
from nilo_schemas.contracts import contract
from nilo_schemas.errors import Reason
from nilo_schemas.framing import frame
from nilo_schemas.registry import Registry
from nilo_schemas.results import PARTIALS_TOPIC, MetricWindow
from nilo_schemas.settings import Settings
from nilo_stream_processors import blobs
from nilo_stream_processors.aggregator import MARKS
from nilo_stream_processors.alerting import Alerting
from nilo_stream_processors.counters import Counters
from nilo_stream_processors.engine import merged
from nilo_stream_processors.engine import partials as arrow
from nilo_stream_processors.engine.merge import (
    Mark,
    MergeState,
    Source,
    clock,
    forget,
    merge_state,
    publish,
    restore,
    stored,
    take,
)
from nilo_stream_processors.engine.merged import Published
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.routes import Routes
from nilo_stream_processors.engine.series import SEPARATOR, labels_of
from nilo_stream_processors.engine.window_rows import WindowRows
from nilo_stream_processors.fetch import Chunk
from nilo_stream_processors.frames import from_frame, in_parts, to_frame
from nilo_stream_processors.outbox import Outbox
from nilo_stream_processors.refusals import Refusals
from nilo_stream_processors.statelog import StateLog, Stored

_PLAIN = re.compile(r"[ !#-\[\]-~\0]*").fullmatch
_LATE = "these windows were forgotten: their grace was over when the source partition woke"


class Merger:
    """The merge states of the partitions of `metrics.partials` that this worker owns."""

    def __init__(
        self,
        app: faust.App,
        settings: Settings,
        catalogue: Catalogue,
        registry: Registry,
        *,
        outbox: Outbox,
        counters: Counters,
    ) -> None:
        self._catalogue, self._registry = catalogue, registry
        self._outbox, self._counters = outbox, counters
        self._partitions, self._grace = settings.partitions, round(settings.grace * 1e6)
        self._refusals = Refusals(outbox, counters, settings.topic_prefix)
        self.topic = settings.topic_prefix + PARTIALS_TOPIC
        self._windows_topic = settings.topic_prefix + MetricWindow.kafka_topic
        self._contract = json.dumps(contract(MetricWindow))
        self._states: dict[int, MergeState] = {}
        self._offsets: dict[int, int] = {}
        self._saved: dict[int, int] = {}
        self._outgoing: list[tuple[Published, pa.RecordBatch]] = []
        self._alerting = Alerting(settings, catalogue, registry, outbox=outbox, counters=counters)
        self._routes = Routes(catalogue)
        self._owed: set[int] = set()
        self._log = StateLog(app, "merges", settings.partitions, outbox)
        self._log.on_recovered(self._recovered)
        self.ready = False

    def pause(self) -> None:
        """Write nothing until the state has been recovered."""
        self.ready = False

    def start_offset(self, tp: TP) -> int | None:
        """The offset after the last message that the state holds; None when it holds none."""
        offset = self._offsets.get(tp.partition)
        return None if offset is None else offset + 1

    async def take(self, tp: TP, chunk: Chunk) -> None:
        """Take in the partials of a chunk; they are snapshots, so twice is as good as once."""
        state = self._state(tp.partition)
        parts: list[Partials] = []
        marks: dict[Source, Mark] = {}
        for record in chunk.records:
            try:
                batch, header = from_frame(record.value or b"", arrow.SCHEMA)
                found = _marks(header[MARKS])
            except (ValueError, TypeError, KeyError) as error:
                self._refuse(tp, record.offset, record.value, Reason.CORRUPT, str(error))
            else:
                parts.append(arrow.from_arrow(batch))
                _add_marks(marks, found)
        take(state, Partials.joined(parts), marks, self._grace)
        self._offsets[tp.partition] = max(chunk.offset, self._offsets.get(tp.partition, -1))
        for late in state.refused:
            value = to_frame(arrow.to_arrow(late), {MARKS: []})
            self._refuse(tp, chunk.offset, value, Reason.LATE, _LATE)
        state.refused.clear()

    def _refuse(
        self, tp: TP, offset: int, value: bytes | None, reason: Reason, detail: str
    ) -> None:
        self._refusals.send(tp, offset, value, stage="TRANSFORMATION", reason=reason, detail=detail)

    def _state(self, partition: int) -> MergeState:
        if partition not in self._states:
            self._states[partition] = merge_state(self._catalogue)
        return self._states[partition]

    def save(self, *, provisional: bool) -> None:
        """Find the windows that changed or closed, and make the state; `publish` sends the windows.

        Without `provisional`, windows that are not final wait for the next time with it.
        """
        for partition, state in self._states.items():
            offset = self._offsets.get(partition, -1)
            owed = provisional and partition in self._owed
            if offset == self._saved.get(partition) and not owed:
                continue
            due = publish(state, self._partitions_of, provisional=provisional)
            found = [(windows, merged.to_arrow(windows)) for windows in due]
            self._alerting.look(partition, found, self._clocks(partition, state))
            self._outgoing += found
            (self._owed.discard if provisional else self._owed.add)(partition)
            self._save(partition, state, offset)
            self._saved[partition] = offset
            forget(state, self._partitions_of, self._grace)

    def _save(self, partition: int, state: MergeState, offset: int) -> None:
        name = str(partition)
        snapshot = self._log.wants_snapshot(name)
        partials, rows = stored(state, all_of_it=snapshot)
        header = {
            "offset": offset,
            "marks": [[*source, *mark] for source, mark in state.marks.items()],
            "passed": state.passed,
            "routes": self._routes.digest,
            **self._alerting.header(partition),
        }
        batches = [part.to_arrow() for part in in_parts(rows)]
        batches += [arrow.to_arrow(part) for part in in_parts(partials)]
        batches += self._alerting.stored(partition, all_of_it=snapshot)
        self._log.write(partition, name, batches, header, snapshot=snapshot)

    def _clocks(self, partition: int, state: MergeState) -> dict[str, int]:
        topics = self._alerting.detection(partition).topics
        return {topic: clock(state, topic, self._partitions_of(topic)) for topic in topics}

    def _partitions_of(self, _topic: str) -> int:
        return self._partitions

    def store(self) -> None:
        """Send the state that `save` has made."""
        self._log.send()

    def add_samples(self) -> None:
        """Look up sample events for the alerts that `save` has found."""
        self._alerting.add_samples()

    def publish(self) -> None:
        """Send the windows and alerts that `save` has found."""
        prefix = frame(self._registry.schema_id(MetricWindow), b"")
        for windows, batch in self._outgoing:
            (bodies,) = pyruhvro.serialize_record_batch(batch, self._contract, 1)
            framed = map(prefix.__add__, bodies.to_pylist())
            self._outbox.send_all(self._windows_topic, zip(_keys(windows), framed, strict=True))
            final = int(windows.final.sum())
            self._counters.windows(final=final, provisional=len(windows) - final)
        self._outgoing = []
        self._alerting.publish()

    async def _recovered(self) -> None:
        """Rebuild all states from the log; partials behind it are read again.

        What was saved last is published once more: the last worker may have died before it was.
        """
        self._states.clear()
        self._offsets.clear()
        self._saved.clear()
        self._owed.clear()
        self._outgoing = []
        self._alerting.clear()
        for name, kept in self._log.recovered().items():
            self._restore(int(name), kept)
        self.ready = True

    def _restore(self, partition: int, kept: list[Stored]) -> None:
        state, header = self._state(partition), kept[-1].header
        state.marks.update(_marks(header["marks"]))
        state.passed.update(header["passed"])
        self._offsets[partition] = header["offset"]
        partials, windows, again, known = [], [], [], []
        for one in kept:
            if one.batch.schema.names == arrow.SCHEMA.names:
                partials.append(arrow.from_arrow(one.batch))
            elif one.batch.schema.names == blobs.SCHEMA.names:
                known.append((one.batch, one.last))
            else:
                windows.append(WindowRows.from_arrow(one.batch))
                again.append(np.full(len(windows[-1]), one.last))
        newest = Partials.joined(partials).newest()
        if header.get("routes") != self._routes.digest:
            # Stage 1 sends the others to where the catalogue wants them by now.
            newest = newest.take(self._routes.targets(newest, self._partitions) == partition)
        restore(state, newest, WindowRows.joined(windows), np.concatenate(again), self._grace)
        self._alerting.restore(partition, header, known)


def _marks(found: list[list[Any]]) -> dict[Source, Mark]:
    """Marks as they stand in a header."""
    return {(topic, partition): Mark(*mark) for topic, partition, *mark in found}


def _add_marks(marks: dict[Source, Mark], found: dict[Source, Mark]) -> None:
    """Add marks; a newer one of a source replaces the older one."""
    for source, new in found.items():
        old = marks.get(source)
        if old is None or old.last_offset <= new.last_offset:
            marks[source] = new


def _keys(windows: Published) -> list[bytes]:
    """The message keys: metric and labels as a JSON list, so that a series stays in order."""
    name, dimensions = windows.name, len(windows.metric.dimensions)
    texts = windows.series.tolist()
    if dimensions and _PLAIN("".join(texts)):
        # What json.dumps would give, for all at once: plain labels have no line breaks.
        begin, end = f'["{name}", "', '"]'
        lines = begin + f"{end}\n{begin}".join(texts) + end
        return lines.replace(SEPARATOR, '", "').encode().split(b"\n")
    return [json.dumps([name, *labels_of(text, dimensions)]).encode() for text in texts]
