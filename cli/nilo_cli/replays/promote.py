"""The windows of a replay become the live ones: as new revisions, in the live topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from nilo_cli.cluster import connect, watermarks
from nilo_cli.errors import UsageError
from nilo_cli.replays import cells
from nilo_cli.replays.cells import Cells
from nilo_cli.replays.difference import comparable, kinds_of, times
from nilo_cli.replays.live import Live, live_reach, live_windows
from nilo_cli.replays.settled import passed, settled
from nilo_schemas.arrow import arrow_schema
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from nilo_stream_processors.engine.arrays import Bools, Ints
from nilo_stream_processors.replay.folder import Folder, FolderError
from nilo_stream_processors.replay.publishing import Publisher

_SCHEMA = arrow_schema(MetricWindow)


@dataclass(frozen=True)
class Promotion:
    """What is to be done, and what not.

    Args:
        rows: the new revisions, as the topic has them.
        changed, added, withdrawn: how many of them are what.
        equal: windows that are as the replay has them.
        open: windows that differ, but may still change live: not yet.
        cut: windows of which not all events are in the range.
    """

    rows: list[pa.RecordBatch]
    changed: int
    added: int
    withdrawn: int
    equal: int
    open: int
    cut: int

    def counts(self) -> dict[str, int]:
        """The numbers, for programs."""
        return {name: value for name, value in vars(self).items() if name != "rows"}


NOTHING = Promotion([], 0, 0, 0, 0, 0, 0)


def plan(
    settings: Settings,
    folder: Folder,
    store: Live,
    *,
    wanted: Callable[[Cells], Bools] | None = None,
) -> Promotion:
    """What promoting a replay would publish: only what differs from what is live.

    Args:
        settings: of the installation.
        folder: of the replay, which is done.
        store: where older live windows are read, besides Kafka.
        wanted: which windows are looked at; None: all.

    Raises:
        FolderError: the replay is not done.
        UsageError: it is of some events only, or Kafka has not all windows of its time.
        UnreachableError: no broker answers.
        StoreError: the store does not answer.
    """
    manifest = folder.manifest()
    if folder.summary() is None:
        raise FolderError(f"replay {manifest.id} is not done: `nilo replay resume {manifest.id}`")
    if manifest.range.where:
        raise UsageError("a replay with --where has windows of some events only: none is whole")
    _check_kept(settings, store)
    catalogue = Catalogue.model_validate(manifest.catalogue)
    since, until = times(manifest.range)
    kinds = kinds_of(settings, catalogue, {})
    stores: list[Live] = ["kafka"] if store == "kafka" else ["kafka", store]
    found = chain.from_iterable(
        live_windows(settings, each, kinds, since=since, until=until) for each in stores
    )
    held = Cells.of(found, withdrawn=True)
    alive = held.take(held.rows["count"].to_numpy() > 0)
    new = Cells.of(folder.windows(), schema=_SCHEMA)
    old, new, cut = comparable(live_reach(settings), manifest, alive, new)
    if wanted is not None:
        old, new = old.take(wanted(old)), new.take(wanted(new))
    grace = round(settings.grace * 1e6)
    marks = passed(settings)
    mine, theirs, differs = cells.matched(old, new)
    added = np.setdiff1d(np.arange(len(new)), theirs)
    gone = np.setdiff1d(np.arange(len(old)), mine)
    differing = [new.take(theirs[differs]), new.take(added), old.take(gone)]
    ready = [settled(each, catalogue, marks, grace) for each in differing]
    changed, fresh, withdrawn = (
        each.take(np.flatnonzero(mask)) for each, mask in zip(differing, ready, strict=True)
    )
    return Promotion(
        [_revised(changed, held), _revised(fresh, held), _withdrawn(_revised(withdrawn, held))],
        len(changed),
        len(fresh),
        len(withdrawn),
        int((~differs).sum()),
        sum(int((~mask).sum()) for mask in ready),
        cut,
    )


def promote(settings: Settings, promotion: Promotion) -> None:
    """Publish the new revisions; raises UnreachableError, and then it may be done again."""
    publisher = Publisher(settings, settings.topic_prefix)
    publisher.publish_windows(_batches(promotion.rows))


def _batches(rows: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    return (batch for batch in rows if batch.num_rows)


def _check_kept(settings: Settings, store: Live) -> None:
    if store != "kafka":
        return
    admin, existing = connect(settings)
    name = settings.topic_prefix + MetricWindow.kafka_topic
    ends = watermarks(admin, {name: existing[name]})
    if any(low > 0 for low, _ in ends.values()):
        raise UsageError(
            "Kafka has deleted the oldest windows, and what is not known cannot be revised: "
            "name a store that has them, --live postgres or --live parquet"
        )


def _revised(some: Cells, held: Cells) -> pa.RecordBatch:
    """The windows with the revision behind the newest that there is."""
    known = dict(zip(held.keys.tolist(), held.rows["revision"].to_pylist(), strict=True))
    revisions: Ints = np.array([known.get(key, -1) + 1 for key in some.keys], np.int64)
    table = some.rows
    columns = [
        pa.array(revisions)
        if field.name == "revision"
        else pa.nulls(table.num_rows, field.type)
        if field.name not in table.column_names
        else _whole(table[field.name])
        for field in _SCHEMA
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _withdrawn(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The windows without events, which says that there is none."""
    rows = batch.num_rows
    zero = {"count": 0, "errors": 0, "rate": 0.0, "error_ratio": 0.0}
    empty: dict[str, list[Any]] = {"quantiles": [], "sources": []}
    kept = {"metric", "unit", "window", "window_start", "window_end", "dimensions", "final"}
    kept |= {"revision", "watermark"}
    columns = []
    for field in _SCHEMA:
        if field.name in kept:
            columns.append(batch[field.name])
        elif field.name in zero:
            columns.append(pa.repeat(pa.scalar(zero[field.name], field.type), rows))
        elif field.name in empty:
            columns.append(pa.array([empty[field.name]] * rows, field.type))
        else:
            columns.append(pa.nulls(rows, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)
