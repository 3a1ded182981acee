"""Stage 1 in Faust: chunks of event topics become cells, published to `metrics.partials`."""

from __future__ import annotations

import asyncio
import time
from asyncio import Future
from collections.abc import Callable, Iterator
from typing import Any

import faust
import pyarrow as pa
from faust.types import TP

from nilo_schemas.batch import BadMessage, BatchDecoder, DecodedBatch
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.codec import decode, encode
from nilo_schemas.dead_letters import dead_letter_headers, dead_letter_topic
from nilo_schemas.errors import Reason, UnreachableError
from nilo_schemas.families import family_of_topic
from nilo_schemas.registry import Registry
from nilo_schemas.results import MetricPartial
from nilo_schemas.settings import Settings
from nilo_stream_processors.changelog import Changelog
from nilo_stream_processors.counters import SINK, Counters
from nilo_stream_processors.engine.aggregate import Disorder, SourceState, aggregate, expired
from nilo_stream_processors.engine.partials import partial_of, restore, watermark_of
from nilo_stream_processors.keys import cell_name, mark_name, series_name
from nilo_stream_processors.transport import Chunk

RETRY_SECONDS = 1.0


class Aggregator:
    """The states of the source partitions that this worker owns."""

    def __init__(
        self,
        app: faust.App,
        settings: Settings,
        catalogue: Catalogue,
        registry: Registry,
        *,
        counters: Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._catalogue, self._registry = app, catalogue, registry
        self._counters, self._clock = counters, clock
        self._prefix = settings.topic_prefix
        self._partitions = settings.partitions
        self._disorder = Disorder(
            round(settings.out_of_orderness * 1e6), round(settings.grace * 1e6)
        )
        self._idle_after = settings.idle_after
        self.topics = [self._prefix + topic for topic in catalogue.topics()]
        self._decoders = {
            topic: BatchDecoder(family_of_topic(topic), registry.schema)
            for topic in catalogue.topics()
        }
        self._states: dict[TP, SourceState] = {}
        self._moved: dict[TP, float] = {}
        self._sent_marks: dict[TP, tuple[int, int, bool]] = {}
        self._changelog = Changelog(app, "cells", settings.partitions)
        self._changelog.on_recovered(self._recovered)
        self._ready = False

    def pause(self) -> None:
        """Write nothing until the state has been recovered."""
        self._ready = False

    def start_offset(self, tp: TP) -> int | None:
        """The offset after the last event that the state holds; None when it holds none."""
        state = self._states.get(tp)
        return None if state is None or state.last_offset < 0 else state.last_offset + 1

    def lag(self) -> dict[str, int]:
        """How many messages of each topic are there and not taken in yet."""
        found: dict[str, int] = {}
        for tp, state in self._states.items():
            end = self._app.consumer.highwater(tp)
            behind = 0 if end is None else max(end - state.last_offset - 1, 0)
            topic = tp.topic.removeprefix(self._prefix)
            found[topic] = found.get(topic, 0) + behind
        return found

    async def take(self, tp: TP, chunk: Chunk) -> None:
        """Decode a chunk, add it to its partition's state, and send away what is unusable."""
        topic = tp.topic.removeprefix(self._prefix)
        decoded = await self._decode(topic, chunk)
        offsets = chunk.offsets()
        state = self._states.setdefault(tp, SourceState())
        rows, of_rows = decoded.rows, offsets[decoded.indexes]
        seen = state.last_offset
        fresh = of_rows > seen
        if not fresh.all():
            rows, of_rows = rows.filter(pa.array(fresh)), of_rows[fresh]
        late = aggregate(state, self._catalogue.of_event(topic), rows, of_rows, self._disorder)
        state.last_offset = max(state.last_offset, chunk.offset)
        self._moved[tp] = self._clock()
        self._counters.consumed(topic, int((offsets > seen).sum()))
        letters = [bad for bad in decoded.bad if offsets[bad.index] > seen]
        letters += [_too_late(int(index)) for index in decoded.indexes[fresh][late]]
        await self._dead_letters(tp, chunk, letters)

    async def _decode(self, topic: str, chunk: Chunk) -> DecodedBatch:
        while True:
            try:
                return await asyncio.to_thread(self._decoders[topic].decode, chunk.values())
            except UnreachableError as error:
                self._app.logger.warning("%s; trying again in %s s", error, RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)

    async def _dead_letters(self, tp: TP, chunk: Chunk, letters: list[BadMessage]) -> None:
        for letter in letters:
            record, reason = chunk.records[letter.index], letter.reason
            headers = dead_letter_headers(
                list(record.headers or []),
                topic=tp.topic,
                partition=tp.partition,
                offset=record.offset,
                connector=SINK,
                stage="TRANSFORMATION" if reason is Reason.LATE else "VALUE_CONVERTER",
                reason=reason,
                detail=letter.detail,
            )
            await self._app.producer.send_and_wait(
                dead_letter_topic(tp.topic, self._prefix),
                record.key,
                record.value,
                partition=None,
                timestamp=None,
                headers=headers,
            )
            self._counters.dead_letter(tp.topic.removeprefix(self._prefix), reason)

    def write(self) -> Iterator[Future[Any]]:
        """Write and publish what changed since the last time; the cells first, then the marks."""
        if not self._ready:
            return
        schema_id = self._registry.schema_id(MetricPartial)
        self._mark_idle()
        for tp, state in self._states.items():
            source = (tp.topic.removeprefix(self._prefix), tp.partition)
            for key in sorted(state.dirty):
                metric = self._catalogue.metrics[key.metric]
                partial = partial_of(key, state.cells[key], metric, source, state.watermark)
                value = encode(partial, schema_id)
                yield self._changelog.put(tp.partition, cell_name(source, key), value)
                yield self._publish(series_name(key), value, None)
            state.dirty.clear()
            for key in expired(state, self._disorder.grace):
                yield self._changelog.put(tp.partition, cell_name(source, key), None)
            yield from self._write_mark(tp, state, source, schema_id)

    def _write_mark(
        self, tp: TP, state: SourceState, source: tuple[str, int], schema_id: int
    ) -> Iterator[Future[Any]]:
        mark = (state.watermark, state.last_offset, state.idle)
        if self._sent_marks.get(tp) == mark:
            return
        self._sent_marks[tp] = mark
        value = encode(watermark_of(source, state), schema_id)
        name = mark_name(source)
        yield self._changelog.put(tp.partition, name, value)
        for partition in range(self._partitions):
            yield self._publish(name, value, partition)

    def _publish(self, key: bytes, value: bytes, partition: int | None) -> Future[Any]:
        topic = self._app.topic(self._prefix + MetricPartial.kafka_topic)
        sent: Future[Any] = topic.send_soon(
            key=key,
            value=value,
            partition=partition,
            key_serializer="raw",
            value_serializer="raw",
        )
        return sent

    def _mark_idle(self) -> None:
        """Partitions that were read to their end and bring nothing new are idle."""
        now = self._clock()
        for tp in self._app.consumer.assignment():
            if tp.topic not in self.topics:
                continue
            state = self._states.setdefault(tp, SourceState())
            since = self._moved.setdefault(tp, now)
            end = self._app.consumer.highwater(tp)
            caught_up = end is not None and end <= max(state.last_offset + 1, 0)
            state.idle = state.idle or (caught_up and now - since >= self._idle_after)

    async def _recovered(self) -> None:
        """Rebuild all states from the changelog: what memory holds beyond it is read again.

        All cells are published once more: the last worker may have died between writing them
        and publishing them.
        """
        self._states.clear()
        self._sent_marks.clear()
        self._moved.clear()
        for _, value in self._changelog.entries():
            partial = decode(value, MetricPartial, self._registry.schema)
            tp = TP(self._prefix + partial.source.topic, partial.source.partition)
            metric = self._catalogue.metrics.get(partial.metric)
            restore(self._states.setdefault(tp, SourceState()), partial, metric)
        for state in self._states.values():
            state.dirty.update(state.cells)
        self._ready = True


def _too_late(index: int) -> BadMessage:
    return BadMessage(index, Reason.LATE, "its window had closed and the grace was over")
