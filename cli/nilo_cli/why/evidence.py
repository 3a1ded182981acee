"""The raw events that an alert was found in, the most telling ones of them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from nilo_cli.cluster import connect, watermarks
from nilo_cli.offset_ranges import decoded
from nilo_cli.why.selected import Errors, RawEvent, Selected, columns_of, raw_events
from nilo_consumers.event_rows import STRETCHES, Stretch
from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.errors import NiloError
from nilo_schemas.families import families
from nilo_schemas.groups import Place
from nilo_schemas.results import SourceRange
from nilo_schemas.settings import Settings
from nilo_stream_processors.engine.arrays import Floats, Ints
from nilo_stream_processors.engine.detect.feed import FORGET

KAFKA = "kafka"
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)


@dataclass
class Evidence:
    """How many events there are, the most telling ones, how many came from where.

    `lost` are stretches that Kafka has deleted and no store holds, `trouble` says which stores
    could not be asked.
    """

    events: list[RawEvent] = field(default_factory=list)
    came_from: Counter[str] = field(default_factory=Counter)
    lost: list[SourceRange] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many events there are."""
        return self.came_from.total()


def time_of(alert: Alert) -> tuple[datetime, datetime]:
    """In which time the events of an alert lie: `[since, until)`.

    What is said of silence shows in the last events before it, however long ago they came.
    """
    until = alert.window_end or alert.time
    if alert.kind == "no_data":
        return alert.starts_at - timedelta(microseconds=FORGET), until
    return min(alert.starts_at, alert.window_start or alert.starts_at), until


def selected_by(alert: Alert, catalogue: Catalogue) -> Selected:
    """Which events an alert is about."""
    since, until = ((each - _EPOCH) // _MICROSECOND for each in time_of(alert))
    return Selected(catalogue.metrics.get(alert.metric), alert.labels, since, until)


def gather(settings: Settings, catalogue: Catalogue, alert: Alert, most: int) -> Evidence:
    """Read the events of an alert, each stretch from Kafka, else from a store that holds it.

    Raises:
        UnreachableError: no broker answers.
    """
    evidence = Evidence()
    telling = _Telling(catalogue, alert, most)
    ranges, gone = _ranges(settings, alert)
    for (topic, _), rows in decoded(settings, ranges):
        for batch in rows.to_batches():
            bare = topic.removeprefix(settings.topic_prefix)
            evidence.came_from[KAFKA] += telling.take(bare, batch)
    for source in gone:
        store, found = "", 0
        for store, batch in _stored(settings, source, alert, evidence.trouble):
            evidence.came_from[store] += telling.take(source.topic, batch)
            found += batch.num_rows
        if not found:
            evidence.lost.append(source)
    evidence.events = telling.events()
    return evidence


class _Telling:
    """Keeps the most telling events: errors first, then by how far their value goes."""

    def __init__(self, catalogue: Catalogue, alert: Alert, most: int) -> None:
        self._selected, self._errors = selected_by(alert, catalogue), Errors(catalogue)
        usual = alert.baseline if alert.baseline is not None else alert.threshold
        low = usual is not None and alert.value is not None and alert.value < usual
        self._sign, self._most = (-1.0 if low else 1.0), most
        self._kept: list[tuple[bool, float, float, int, RawEvent]] = []
        self._number = 0

    def take(self, topic: str, batch: pa.RecordBatch) -> int:
        """Look at rows with their origin; how many of them it is about."""
        columns = columns_of(batch)
        mine = np.flatnonzero(self._selected.mask(columns))
        errors, values = self._errors.mask(topic, columns), self._selected.values(columns)
        # Of one batch no more than `most` can be kept: the others need not become events.
        order = np.lexsort((columns.times[mine], -self._rank(values[mine]), ~errors[mine]))
        rows: Ints = mine[order[: self._most]]
        for event in raw_events(topic, batch, rows, errors, values):
            self._keep(event)
        return len(mine)

    def events(self) -> list[RawEvent]:
        """The most telling ones, the first one first."""
        return [each[-1] for each in sorted(self._kept, reverse=True)]

    def _rank(self, values: Floats) -> Floats:
        return np.nan_to_num(self._sign * values, nan=-np.inf)

    def _keep(self, event: RawEvent) -> None:
        self._number += 1
        rank = -np.inf if event.value is None else self._sign * event.value
        early = -event.time.timestamp()
        entry = (event.error, float(rank), early, -self._number, event)
        push = heapq.heappush if len(self._kept) < self._most else heapq.heappushpop
        push(self._kept, entry)


def _ranges(
    settings: Settings, alert: Alert
) -> tuple[dict[Place, tuple[int, int]], list[SourceRange]]:
    """Which offsets are to be had from Kafka, and which are gone there."""
    admin, existing = connect(settings)
    names = {settings.topic_prefix + source.topic for source in alert.sources}
    held = watermarks(admin, {name: existing[name] for name in names if name in existing})
    ranges, gone = {}, []
    for source in alert.sources:
        place = settings.topic_prefix + source.topic, source.partition
        low, high = held.get(place, (source.last_offset + 1, source.last_offset + 1))
        first, stop = max(source.first_offset, low), min(source.last_offset + 1, high)
        if first < stop:
            ranges[place] = first, stop
        if source.first_offset < low:
            last = min(low - 1, source.last_offset)
            gone.append(source.model_copy(update={"last_offset": last}))
    return ranges, [source for source in gone if source.first_offset <= source.last_offset]


def _stored(
    settings: Settings, source: SourceRange, alert: Alert, trouble: list[str]
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The rows of a stretch from the first store that has some."""
    since, until = time_of(alert)
    wanted = Stretch(source.partition, source.first_offset, source.last_offset + 1, since, until)
    known = settings.database_url is not None
    for store in [store for store in STRETCHES if known or store != "postgres"]:
        found = False
        try:
            for batch in STRETCHES[store](settings, families()[source.topic], wanted):
                found = True
                yield store, batch
        except NiloError as error:
            trouble.append(str(error))
        if found:
            return
