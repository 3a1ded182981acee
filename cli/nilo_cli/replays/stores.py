"""The stores of a replay: Kafka itself, or what the sinks and `nilo tiers` have kept of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from nilo_cli.times import time_of
from nilo_consumers.batch import OFFSET, STAMP
from nilo_consumers.events import Family
from nilo_consumers.history.archive import extents_of_archive, stretch_of_archive
from nilo_consumers.history.lake import extents_of_lake, stretch_of_lake
from nilo_consumers.history.runs import Wanted
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.families import family_of_topic
from nilo_schemas.settings import Settings
from nilo_stream_processors.engine.arrays import Ints
from nilo_stream_processors.engine.columns import fields_of, ints
from nilo_stream_processors.replay.kafka_store import KafkaStore
from nilo_stream_processors.replay.manifest import Manifest
from nilo_stream_processors.replay.rows import Rows, Store, Stretch

Extents = Mapping[int, tuple[int, int]]
_Stretch = Callable[[Settings, Family, Wanted], Iterator[pa.Table]]
_READ: Mapping[str, _Stretch] = {"parquet": stretch_of_lake, "archive": stretch_of_archive}
EXTENTS: Mapping[str, Callable[[Settings, str, datetime | None], Extents]] = {
    "parquet": extents_of_lake,
    "archive": extents_of_archive,
}


def store_of(settings: Settings, manifest: Manifest) -> Store:
    """Where the events of a replay are."""
    asked = manifest.range
    if asked.store == "kafka":
        return KafkaStore(settings)
    catalogue = Catalogue.model_validate(manifest.catalogue)
    fields = {topic: fields_of(catalogue.of_event(topic).values()) for topic in asked.topics()}
    return KeptStore(settings, asked.store, asked.begin(), fields)


@dataclass(frozen=True)
class KeptStore:
    """The lake or the archive.

    Args:
        settings: where it is.
        name: which.
        since: microseconds; days before it are not read.
        fields: of each topic those that are read: it saves most of the time.
    """

    settings: Settings
    name: str
    since: int
    fields: Mapping[str, Collection[str]]

    def read(self, stretch: Stretch) -> Iterator[Rows]:
        """The events of a stretch; raises StoreError, and OSError for a file that is not there."""
        topic, number = stretch.source
        family = family_of_topic(topic)
        since = time_of(max(0, self.since))
        wanted = Wanted(number, stretch.first, stretch.stop, since, self.fields[topic])
        for table in _READ[self.name](self.settings, family, wanted):
            for batch in table.combine_chunks().to_batches():
                if batch.num_rows:
                    yield _rows(batch)


def _rows(batch: pa.RecordBatch) -> Rows:
    offsets = ints(batch[OFFSET])
    return Rows(batch, offsets, _stamps(batch), int(offsets[-1]) + 1)


def _stamps(batch: pa.RecordBatch) -> Ints:
    """When Kafka took the events; rows of earlier versions count as taken when they happened."""
    known = batch[STAMP.name].cast(pa.int64())
    return ints(pc.coalesce(known, batch["time"].cast(pa.int64())))
