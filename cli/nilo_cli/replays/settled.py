"""Which windows the processors have done with: nothing that still comes can change them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow.compute as pc

from nilo_cli.cluster import connect, watermarks
from nilo_cli.offset_ranges import messages_of
from nilo_cli.replays.cells import Cells
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.results import STATE_TOPICS
from nilo_schemas.settings import Settings
from nilo_stream_processors.engine.arrays import Bools, Ints
from nilo_stream_processors.frames import header_of

# What a commit writes is fewer messages than this, of each partition.
_LAST = 200
_MERGES = STATE_TOPICS[1]


def passed(settings: Settings) -> dict[str, int]:
    """By topic (without prefix), up to which watermark all processors have forgotten windows; µs.

    It stands in the state that they write at each commit. Empty while one has written none.

    Raises:
        UnreachableError: no broker answers.
    """
    admin, existing = connect(settings)
    topic = settings.topic_prefix + _MERGES
    if topic not in existing:
        return {}
    ends = watermarks(admin, {topic: existing[topic]})
    ranges = {place: (max(low, high - _LAST), high) for place, (low, high) in ends.items()}
    found: dict[int, dict[str, int]] = {number: {} for _, number in ends}
    for messages in messages_of(settings, ranges):
        for message in messages:
            if value := message.value():
                held = found[int(message.partition() or 0)]
                for name, mark in header_of(bytes(value)).get("passed", {}).items():
                    held[name] = max(mark, held.get(name, 0))
    return _least(found.values())


def _least(marks: Iterable[dict[str, int]]) -> dict[str, int]:
    """A series may be in any partition: those that have one count, the least of them."""
    some = [each for each in marks if each]
    names = {name for each in some for name in each}
    return {name: min(each.get(name, 0) for each in some) for name in names}


def settled(cells: Cells, catalogue: Catalogue, marks: dict[str, int], grace: int) -> Bools:
    """Which of these windows are forgotten: their grace, in microseconds, is over."""
    ends: Ints = cells.rows["window_end"].cast("int64").to_numpy()
    metrics = pc.cast(cells.rows["metric"], "string").to_pylist()
    events = [catalogue.metrics[name].event for name in metrics]
    limits = np.array([marks.get(event, 0) for event in events], np.int64)
    return np.asarray(ends + grace <= limits, np.bool_)
