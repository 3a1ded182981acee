"""Events that came too late: which there are, and the windows that they belong to, made anew."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from nilo_cli.cluster import connect, watermarks
from nilo_cli.offset_ranges import messages_of
from nilo_cli.replays.cells import Cells
from nilo_cli.replays.live import Live
from nilo_cli.replays.promote import NOTHING, Promotion, plan
from nilo_cli.replays.ranges import Asked
from nilo_cli.replays.running import make, run
from nilo_cli.times import microseconds
from nilo_schemas.batch import BatchDecoder
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.dead_letters import dead_letter_topic
from nilo_schemas.errors import Reason
from nilo_schemas.families import family_of_topic
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from nilo_stream_processors.engine.arrays import Bools, Ints
from nilo_stream_processors.engine.columns import ints

_CODE = "x-nilo-error-code"


def late_times(
    settings: Settings,
    topics: list[str],
    since: datetime | None,
    until: datetime | None,
) -> dict[str, Ints]:
    """When the events happened that the processors refused as too late, by topic; µs, rising.

    Args:
        settings: of the installation.
        topics: of events, without prefix.
        since: events from this time on.
        until: events before it.

    Raises:
        UnreachableError: no broker answers.
    """
    registry, found = Registry(settings), {}
    for topic in topics:
        decoder = BatchDecoder(family_of_topic(topic), registry.schema)
        times = [
            ints(decoder.decode(values).rows.column("time")) for values in _letters(settings, topic)
        ]
        all_times = np.unique(np.concatenate([np.empty(0, np.int64), *times]))
        first, last = (_since_epoch(each) for each in (since, until))
        inside = np.ones(len(all_times), np.bool_)
        if first is not None:
            inside &= all_times >= first
        if last is not None:
            inside &= all_times < last
        if inside.any():
            found[topic] = all_times[inside]
    return found


def repaired(
    settings: Settings, asked: Asked, catalogue: Catalogue, live: Live, workers: int | None
) -> Promotion:
    """What repairing a range would publish.

    Raises:
        NiloError: a store does not answer, or the range is not there.
    """
    late = late_times(settings, list(asked.topics), asked.since, asked.until)
    if not late:
        return NOTHING
    with tempfile.TemporaryDirectory(prefix="nilo-repair-") as name:
        mine = replace(asked, topics=sorted(late))
        # Alerts are not promoted, and rules look at every moment of silence up to the end.
        metrics = catalogue.model_copy(update={"rules": {}})
        folder = make(settings, mine, metrics, out=Path(name) / "late", take_late=True)
        run(settings, folder, speed=None, workers=workers)
        return plan(settings, folder, live, wanted=lambda cells: of_late(cells, catalogue, late))


def of_late(cells: Cells, catalogue: Catalogue, late: Mapping[str, Ints]) -> Bools:
    """Which windows lie where such an event does, and are of its topic."""
    starts: Ints = cells.rows["window_start"].cast("int64").to_numpy()
    ends: Ints = cells.rows["window_end"].cast("int64").to_numpy()
    found = np.zeros(len(cells), np.bool_)
    metrics = cells.rows["metric"].to_pylist()
    events = np.array([catalogue.metrics[name].event for name in metrics], np.object_)
    for topic, times in late.items():
        mine = np.flatnonzero(events == topic)
        # A session ends with its last event, a window before its end.
        first = np.searchsorted(times, starts[mine], side="left")
        found[mine] = first < np.searchsorted(times, ends[mine], side="right")
    return found


def _letters(settings: Settings, topic: str) -> Iterator[list[bytes | None]]:
    admin, existing = connect(settings)
    name = dead_letter_topic(settings.topic_prefix + topic, settings.topic_prefix)
    if name not in existing:
        return
    for messages in messages_of(settings, watermarks(admin, {name: existing[name]})):
        yield [message.value() for message in messages if _is_late(message)]


def _is_late(message: Any) -> bool:
    story = dict(message.headers() or [])
    return bool(story.get(_CODE) == Reason.LATE.encode())


def _since_epoch(time: datetime | None) -> int | None:
    return None if time is None else microseconds(time)
