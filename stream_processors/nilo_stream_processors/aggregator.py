"""Stage 1 in Faust: chunks of event topics become cells, published to `metrics.partials`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import faust
import numpy as np
from faust.types import TP

from nilo_schemas.batch import BatchDecoder, DecodedBatch
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.errors import Reason, UnreachableError
from nilo_schemas.families import family_of_topic
from nilo_schemas.faults import BadMessage
from nilo_schemas.registry import Registry
from nilo_schemas.results import PARTIALS_TOPIC
from nilo_schemas.settings import Settings
from nilo_stream_processors.counters import Counters
from nilo_stream_processors.engine import partials as arrow
from nilo_stream_processors.engine.merge import Mark
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.plan import plan
from nilo_stream_processors.engine.routes import Routes
from nilo_stream_processors.engine.source import (
    Bounds,
    SourceState,
    aggregate,
    changes,
    everything,
    expire,
    restore,
    source_state,
)
from nilo_stream_processors.fetch import Chunk
from nilo_stream_processors.frames import for_targets, in_parts, to_frame
from nilo_stream_processors.outbox import Outbox
from nilo_stream_processors.refusals import Refusals
from nilo_stream_processors.statelog import StateLog, Stored

RETRY_SECONDS = 1.0
# How often stage 2 is told how long a partition has been silent, and how often that is written.
TICK, KEEP_SILENCE = 5.0, 60.0
# So much of the time since the last look counts as silence at most.
LONGEST_LOOK = 5.0
MARKS = "marks"
_WHY = {
    Reason.LATE: "its window had closed and the grace was over",
    Reason.FUTURE: "its time lies too far after the time of its message: a clock is wrong",
}


class Aggregator:
    """The states of the source partitions that this worker owns."""

    def __init__(
        self,
        app: faust.App,
        settings: Settings,
        catalogue: Catalogue,
        registry: Registry,
        *,
        outbox: Outbox,
        counters: Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._catalogue, self._outbox = app, catalogue, outbox
        self._counters, self._clock = counters, clock
        self._prefix, self._partitions = settings.topic_prefix, settings.partitions
        self._refusals = Refusals(outbox, counters, self._prefix)
        self._cap, self._idle_after = settings.series_cap, settings.idle_after
        self._bounds = Bounds(
            *(round(seconds * 1e6) for seconds in (
                settings.out_of_orderness, settings.grace, settings.future_bound,
            ))
        )  # fmt: skip
        self.topics = [self._prefix + topic for topic in catalogue.topics()]
        self._decoders = {
            topic: BatchDecoder(family_of_topic(topic), registry.schema)
            for topic in catalogue.topics()
        }
        self._states: dict[TP, SourceState] = {}
        self._silent: dict[TP, float] = {}
        self._looked = clock()
        # What stage 2 is told of each partition, and what of it is in the log.
        self._marks: dict[TP, Mark] = {}
        self._saved: dict[TP, Mark] = {}
        self._routes = Routes(catalogue)
        self._outgoing: list[Partials] = []
        self._unsent: set[TP] = set()
        self._taken, self._saved_at = 0, clock()
        self._log = StateLog(app, "sources", settings.partitions, outbox)
        self._log.on_recovered(self._recovered)
        self.ready = False

    def pause(self) -> None:
        """Write nothing until the state has been recovered."""
        self.ready = False

    def start_offset(self, tp: TP) -> int | None:
        """The offset after the last event that the state holds; None when it holds none."""
        state = self._states.get(tp)
        return None if state is None or state.last_offset < 0 else state.last_offset + 1

    def lag(self) -> dict[str, int]:
        """How many messages of each topic are there and not taken in yet."""
        found: dict[str, int] = {}
        for tp, left in self._left().items():
            topic = self._source(tp)[0]
            found[topic] = found.get(topic, 0) + left
        return found

    def _left(self) -> dict[TP, int]:
        consumer: Any = self._app.consumer
        left: dict[TP, int] = consumer.left()
        return {tp: count for tp, count in left.items() if tp.topic in self.topics}

    def is_behind(self) -> bool:
        """Whether more waits than a second's work, as work went since the last save."""
        seconds = max(self._clock() - self._saved_at, 1e-3)
        return sum(self.lag().values()) > self._taken / seconds

    def _source(self, tp: TP) -> tuple[str, int]:
        return tp.topic.removeprefix(self._prefix), tp.partition

    def _state(self, tp: TP) -> SourceState:
        if tp not in self._states:
            metrics = self._catalogue.of_event(self._source(tp)[0])
            self._states[tp] = source_state(plan(metrics, self._cap))
        return self._states[tp]

    async def take(self, tp: TP, chunk: Chunk) -> None:
        """Decode a chunk, add it to its partition's state, and send away what is unusable."""
        topic, state = self._source(tp)[0], self._state(tp)
        decoded = await self._decode(topic, chunk)
        offsets = chunk.offsets()
        seen = int(np.searchsorted(offsets, state.last_offset, side="right"))
        known = int(np.searchsorted(decoded.indexes, seen))
        rows, indexes = decoded.rows.slice(known), decoded.indexes[known:]
        stamps = chunk.timestamps()[indexes] * 1000
        refused = aggregate(state, rows, offsets[indexes], stamps, self._bounds)
        state.last_offset = max(state.last_offset, chunk.offset)
        self._silent[tp] = 0.0
        self._taken += len(chunk) - seen
        self._counters.consumed(topic, len(chunk) - seen)
        self._counters.capped(state.capped)
        state.capped.clear()
        letters = [bad for bad in decoded.bad if bad.index >= seen]
        for reason, which in ((Reason.LATE, refused.late), (Reason.FUTURE, refused.future)):
            letters += [BadMessage(int(i), reason, _WHY[reason]) for i in indexes[which]]
        self._refuse(tp, chunk, letters)

    async def _decode(self, topic: str, chunk: Chunk) -> DecodedBatch:
        while True:
            try:
                return await asyncio.to_thread(self._decoders[topic].decode, chunk.values())
            except UnreachableError as error:
                self._app.logger.warning("%s; trying again in %s s", error, RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)

    def _refuse(self, tp: TP, chunk: Chunk, letters: list[BadMessage]) -> None:
        for letter in letters:
            record = chunk.records[letter.index]
            self._refusals.send(
                tp,
                record.offset,
                record.value,
                stage="TRANSFORMATION" if letter.reason in _WHY else "VALUE_CONVERTER",
                reason=letter.reason,
                detail=letter.detail,
                key=record.key,
                headers=list(record.headers or []),
            )

    def save(self) -> None:
        """Make the state that changed since the last time; `store` and `publish` send it."""
        self._taken, self._saved_at = 0, self._clock()
        self._mark_idle()
        for tp, state in self._states.items():
            silent = self._silent.get(tp, 0.0) if state.idle else 0.0
            mark = Mark(state.watermark, state.last_offset, state.idle, _steps(silent, TICK))
            if self._marks.get(tp) != mark:
                self._marks[tp] = mark
                self._unsent.add(tp)
            kept = mark._replace(silent=_steps(silent, KEEP_SILENCE))
            if self._saved.get(tp) != kept:
                self._save(tp, state, kept)
                self._saved[tp] = kept

    def _save(self, tp: TP, state: SourceState, mark: Mark) -> None:
        source = self._source(tp)
        name = "/".join(map(str, source))
        changed = changes(state, source)
        self._outgoing.append(changed)
        snapshot = self._log.wants_snapshot(name)
        kept = everything(state, source, changed) if snapshot else changed
        # Only now: a cell may have changed and become past since the last commit.
        expire(state, self._bounds.grace)
        header = {"source": source, "mark": mark, "routes": self._routes.digest}
        batches = [arrow.to_arrow(part) for part in in_parts(kept)]
        self._log.write(tp.partition, name, batches, header, snapshot=snapshot)

    def store(self) -> None:
        """Send the state that `save` has made."""
        self._log.send()

    def publish(self) -> None:
        """Send what `save` has found: the changed cells, and behind them the marks."""
        changed, self._outgoing = Partials.joined(self._outgoing), []
        marks = [[*self._source(tp), *self._marks[tp]] for tp in self._unsent if tp in self._marks]
        self._unsent.clear()
        if not marks and not len(changed):
            return
        targets = self._routes.targets(changed, self._partitions)
        for partition, (*parts, last) in enumerate(for_targets(changed, targets, self._partitions)):
            for part in parts:
                self._send(partition, part, [])
            self._send(partition, last, marks)

    def _send(self, partition: int, part: Partials, marks: list[list[Any]]) -> None:
        frame = to_frame(arrow.to_arrow(part), {MARKS: marks})
        self._outbox.send(self._prefix + PARTIALS_TOPIC, None, frame, partition=partition)

    def _mark_idle(self) -> None:
        """Partitions that were read to their end and bring nothing new are silent, then idle.

        Silence counts only while we can look: when the broker is away nobody knows what comes.
        """
        now = self._clock()
        passed, self._looked = min(now - self._looked, LONGEST_LOOK), now
        for tp, left in self._left().items():
            state = self._state(tp)
            silent = 0.0 if left else self._silent.get(tp, 0.0) + passed
            self._silent[tp] = silent
            state.idle = state.idle or silent >= self._idle_after

    async def _recovered(self) -> None:
        """Rebuild all states from the log: what memory holds beyond it is read again.

        What was saved last is published once more: the last worker may have died before it was.
        """
        self._states.clear()
        self._saved.clear()
        self._silent.clear()
        self._marks.clear()
        self._looked = self._clock()
        self._unsent.clear()
        self._outgoing = []
        for stored in self._log.recovered().values():
            self._restore(stored)
        self.ready = True

    def _restore(self, stored: list[Stored]) -> None:
        header = stored[-1].header
        tp = TP(self._prefix + header["source"][0], header["source"][1])
        state, mark = self._state(tp), Mark(*header["mark"])
        parts = [(arrow.from_arrow(one.batch), one.last) for one in stored]
        whole = Partials.joined([part for part, _ in parts]).newest()
        restore(state, whole)
        if header.get("routes") == self._routes.digest:
            self._outgoing += [part for part, last in parts if last]
        else:
            # The catalogue sends series elsewhere by now: there nothing is known of them.
            self._outgoing.append(whole)
        state.watermark, state.last_offset, state.idle, silent = mark
        self._silent[tp] = silent / 1e6


def _steps(seconds: float, step: float) -> int:
    """The whole steps in a time, in microseconds."""
    return int(seconds // step * step * 1e6)
