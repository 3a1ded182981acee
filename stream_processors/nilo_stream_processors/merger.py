"""Stage 2 in Faust: chunks of `metrics.partials` become windows on `metrics.windows`."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Iterator
from typing import Any

import faust
from faust.types import TP
from pydantic import BaseModel

from nilo_schemas.catalogue import Catalogue
from nilo_schemas.codec import decode, encode
from nilo_schemas.errors import DecodeError
from nilo_schemas.registry import Registry
from nilo_schemas.results import MetricPartial, MetricWindow
from nilo_schemas.settings import Settings
from nilo_stream_processors.changelog import Changelog
from nilo_stream_processors.counters import Counters
from nilo_stream_processors.engine.merge import (
    MergeState,
    WindowState,
    expired,
    publish,
    take,
)
from nilo_stream_processors.engine.partials import cell_key
from nilo_stream_processors.keys import mark_name, series_name, window_name
from nilo_stream_processors.transport import Chunk


class Stored(BaseModel):
    """A window, or a lone watermark message, as it lies in the changelog."""

    revision: int = 0
    final: bool = False
    partials: list[MetricPartial]

    @classmethod
    def of(cls, window: WindowState) -> Stored:
        """What there is to store of a window."""
        return cls(
            revision=window.revision, final=window.final, partials=list(window.partials.values())
        )

    def to_bytes(self) -> bytes:
        """JSON; a changelog is read by the program that wrote it."""
        return self.model_dump_json(exclude_defaults=True).encode()

    def restore(self, state: MergeState) -> None:
        """Put it back into the state of its partition."""
        sources = {(p.source.topic, p.source.partition): p for p in self.partials}
        if not self.partials[0].metric:
            state.marks.update(sources)
        else:
            window = WindowState(sources, self.revision, self.final)
            state.windows[cell_key(self.partials[0])] = window


class Merger:
    """The merge states of the partitions of `metrics.partials` that this worker owns."""

    def __init__(
        self,
        app: faust.App,
        settings: Settings,
        catalogue: Catalogue,
        registry: Registry,
        *,
        counters: Counters,
    ) -> None:
        self._app, self._catalogue, self._registry = app, catalogue, registry
        self._counters, self._partitions = counters, settings.partitions
        self._grace = round(settings.grace * 1e6)
        self.topic = settings.topic_prefix + MetricPartial.kafka_topic
        self._windows_topic = settings.topic_prefix + MetricWindow.kafka_topic
        self._states: dict[int, MergeState] = {}
        self._changelog = Changelog(app, "windows", settings.partitions)
        self._changelog.on_recovered(self._recovered)
        self._ready = False

    def pause(self) -> None:
        """Write nothing until the state has been recovered."""
        self._ready = False

    async def take(self, tp: TP, chunk: Chunk) -> None:
        """Take in the partials of a chunk; they are snapshots, so twice is as good as once."""
        state = self._states.setdefault(tp.partition, MergeState())
        for partial in await asyncio.to_thread(self._decode, chunk):
            take(state, partial, self._grace)

    def _decode(self, chunk: Chunk) -> list[MetricPartial]:
        partials = []
        for value in chunk.values():
            try:
                partials.append(decode(value, MetricPartial, self._registry.schema))
            except DecodeError as error:
                # Our own topic: what is in it that we did not write is counted and left there.
                self._counters.dead_letter(MetricPartial.kafka_topic, error.reason)
        return partials

    def write(self) -> Iterator[Future[Any]]:
        """Publish the windows that changed or closed, and write the state behind them."""
        if not self._ready:
            return
        schema_id = self._registry.schema_id(MetricWindow)
        for partition, state in self._states.items():
            published = list(publish(state, self._catalogue, self._partitions_of))
            for key, window in published:
                yield self._send(series_name(key), encode(window, schema_id))
                self._counters.window(final=window.final)
                stored = Stored.of(state.windows[key])
                yield self._changelog.put(partition, window_name(key), stored.to_bytes())
            for source in sorted(state.moved):
                stored = Stored(partials=[state.marks[source]])
                yield self._changelog.put(partition, mark_name(source), stored.to_bytes())
            state.moved.clear()
            gone = expired(state, self._catalogue, self._partitions_of, self._grace)
            for key in gone:
                yield self._changelog.put(partition, window_name(key), None)

    def _partitions_of(self, topic: str) -> int:
        return self._partitions

    def _send(self, key: bytes, value: bytes) -> Future[Any]:
        topic = self._app.topic(self._windows_topic)
        sent: Future[Any] = topic.send_soon(
            key=key, value=value, key_serializer="raw", value_serializer="raw"
        )
        return sent

    async def _recovered(self) -> None:
        """Rebuild all states from the changelog; partials after it are read again.

        All windows are published once more: the last worker may have died before it did.
        """
        self._states.clear()
        for partition, value in self._changelog.entries():
            state = self._states.setdefault(partition, MergeState())
            Stored.model_validate_json(value).restore(state)
        for state in self._states.values():
            state.again.update(state.windows)
        self._ready = True
