"""Plays a file: its rows become events, sent as fast as Kafka takes them or at a pace."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from nilo_producers.errors import PlayError, RowError
from nilo_producers.files import open_table
from nilo_producers.mapping import describe_clock, resolve
from nilo_producers.producer import Producer
from nilo_producers.rows import RowReader
from nilo_schemas.envelope import Event
from nilo_schemas.settings import Settings

DELIVERY_TIMEOUT = 600.0
_PROGRESS_EVERY = 1000
_KEPT_REASONS = 5
_LONGEST_WAIT = 0.5


@dataclass(frozen=True)
class Progress:
    """How far a play is; `total` rows are known for Parquet only."""

    rows: int
    emitted: int
    skipped: int
    total: int | None


@dataclass(frozen=True)
class Played:
    """What a play did: every row was delivered or skipped.

    `first_time` and `last_time` are the earliest and latest event times as sent, `reasons` holds
    the first reasons for skipping, and `notes` says what of the times is made up.
    """

    type: str
    topic: str
    rows: int
    delivered: int
    skipped: int
    reasons: tuple[str, ...]
    first_time: datetime | None
    last_time: datetime | None
    seconds: float
    notes: str


def play(
    settings: Settings,
    file: str | Path,
    *,
    event_type: str | None = None,
    mapping: Mapping[str, str] | None = None,
    speed: str | float = "max",
    shift_time: datetime | None = None,
    limit: int | None = None,
    bad_rows: Literal["stop", "skip"] = "stop",
    progress: Callable[[Progress], None] | None = None,
) -> Played:
    """Send a file's rows as events and wait until Kafka has them all.

    Known files need neither type nor mapping. Each play makes new ids: a file played twice is
    twice as many events.

    Args:
        settings: where Kafka and the registry are.
        file: CSV, JSON lines (.jsonl, .ndjson) or Parquet.
        event_type: such as `llm.call` (default: what the shipped mapping says).
        mapping: expressions by field (see nilo_producers.expressions), laid over the shipped ones.
        speed: "max", or how many times as fast as it happened ("60x", 60.0).
        shift_time: moves all times so that the last event happens when the play ends, if it
            begins at this time; at speed "max" the trace ends at `shift_time`. No event lies in
            the future as long as speed is at least 1.
        limit: rows to play at most.
        bad_rows: what a row that is no valid event does: "stop" the play, or "skip" and count.
        progress: called every thousand rows and at the end.

    Raises:
        MappingError: no mapping is known, or it names an unknown field, column or unit.
        FileError: the file cannot be read.
        RowError: a row does not fit and `bad_rows` is "stop"; the rows before it are delivered.
        DeliveryError: Kafka did not take an event within ten minutes.
    """
    pace = parse_speed(speed)
    path = Path(file)
    reader_table = open_table(path)
    chosen = resolve(path, event_type, mapping)
    reader = RowReader(reader_table, chosen)
    shift = _shift(reader, shift_time, pace, limit)
    run = _Run(pace, bad_rows, reader_table.rows, limit, progress)
    began = time.monotonic()
    # At full speed its queue is full, as it should be: nobody need hear of that.
    quiet = settings.model_copy(update={"report_every": 0.0})
    with Producer(
        quiet, delivery_timeout=DELIVERY_TIMEOUT, queue_timeout=DELIVERY_TIMEOUT
    ) as producer:
        for event in reader.events(run.bad, shift=shift, limit=limit):
            run.send(producer, event)
    run.tell()
    return Played(
        type=chosen.type,
        topic=settings.topic_prefix + reader.family.kafka_topic,
        rows=run.emitted + run.skipped,
        delivered=producer.counts.delivered,
        skipped=run.skipped,
        reasons=tuple(run.reasons),
        first_time=run.first_time,
        last_time=run.last_time,
        seconds=time.monotonic() - began,
        notes=describe_clock(chosen),
    )


def parse_speed(speed: str | float) -> float:
    """`max` as infinity, `60x` or 60 as 60; raises PlayError for what is not above zero."""
    if speed == "max":
        return math.inf
    try:
        factor = float(speed.removesuffix("x") if isinstance(speed, str) else speed)
    except ValueError:
        factor = math.nan
    if not factor > 0:
        raise PlayError(f"speed {speed!r} is neither max nor a factor above zero such as 60x")
    return factor


def _shift(reader: RowReader, target: datetime | None, pace: float, limit: int | None) -> timedelta:
    if target is None:
        return timedelta(0)
    first, last = reader.first_time(limit), reader.last_time(limit)
    if first is None or last is None:
        return timedelta(0)
    played_for = timedelta(0) if pace == math.inf else (last - first) / max(pace, 1.0)
    return target + played_for - last


class _Run:
    """Sends events at their pace, and counts."""

    def __init__(
        self,
        pace: float,
        bad_rows: Literal["stop", "skip"],
        total: int | None,
        limit: int | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._pace, self._bad_rows, self._progress = pace, bad_rows, progress
        self._total = total if total is None or limit is None else min(total, limit)
        self._origin: tuple[datetime, float] | None = None
        self.emitted = self.skipped = 0
        self.reasons: list[str] = []
        self.first_time: datetime | None = None
        self.last_time: datetime | None = None

    def send(self, producer: Producer, event: Event) -> None:
        if self._pace != math.inf:
            self._wait(producer, event.time)
        producer.emit(event)
        self.emitted += 1
        self.first_time = min(self.first_time or event.time, event.time)
        self.last_time = max(self.last_time or event.time, event.time)
        self._tick()

    def bad(self, error: RowError) -> None:
        if self._bad_rows == "stop":
            raise RowError(
                f"{error}; {self.emitted:,} rows before it were sent (skip such rows and count "
                "them with bad_rows='skip', --bad-rows skip)",
                error.row,
            )
        self.skipped += 1
        if len(self.reasons) < _KEPT_REASONS:
            self.reasons.append(str(error))
        self._tick()

    def tell(self) -> None:
        if self._progress:
            rows = self.emitted + self.skipped
            self._progress(Progress(rows, self.emitted, self.skipped, self._total))

    def _tick(self) -> None:
        if (self.emitted + self.skipped) % _PROGRESS_EVERY == 0:
            self.tell()

    def _wait(self, producer: Producer, event_time: datetime) -> None:
        """Wait for the event's moment; one that lies before the first is sent at once."""
        self._origin = self._origin or (event_time, time.monotonic())
        begin, began = self._origin
        due = began + (event_time - begin).total_seconds() / self._pace
        while (left := due - time.monotonic()) > 0:
            producer.poll(min(left, _LONGEST_WAIT))
