"""Stage 2: the partials of all source partitions become windows, final at the watermark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nilo_schemas.catalogue import Catalogue
from nilo_stream_processors.engine import sums
from nilo_stream_processors.engine.arrays import Bools
from nilo_stream_processors.engine.merged import Published
from nilo_stream_processors.engine.pane_merge import PaneMerge
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.plan import pane_length
from nilo_stream_processors.engine.session_merge import SessionMerge
from nilo_stream_processors.engine.window_rows import WindowRows

Source = tuple[str, int]
Merge = PaneMerge | SessionMerge
SILENT = 2**62


class Mark(NamedTuple):
    """How far a source partition has come: its watermark in microseconds and its last offset.

    An idle one has nothing on its way: it holds up nobody. `silent` says for how long that has been
    so, in microseconds.
    """

    watermark: int
    last_offset: int
    idle: bool
    silent: int = 0


@dataclass
class MergeState:
    """What one partition of `metrics.partials` has become so far.

    `passed` is, per topic, the watermark at which windows were forgotten last. `refused` holds the
    partials that came after that, until somebody takes them.
    """

    metrics: dict[str, list[Merge]]
    marks: dict[Source, Mark] = field(default_factory=dict)
    passed: dict[str, int] = field(default_factory=dict)
    refused: list[Partials] = field(default_factory=list)


def merge_state(catalogue: Catalogue) -> MergeState:
    """The state before the first partial."""
    merges: dict[str, list[Merge]] = {}
    for name, metric in catalogue.metrics.items():
        sessions = [window for window in metric.resolutions() if window.kind == "session"]
        merges[name] = [SessionMerge(name, metric, window) for window in sessions]
        if pane_length(metric):
            merges[name].append(PaneMerge(name, metric))
    return MergeState(merges)


def take(state: MergeState, partials: Partials, marks: dict[Source, Mark], grace: int) -> None:
    """Take in partials, and then the marks that came with them.

    A metric that the catalogue does not have, or not with these panes or sessions, is passed over;
    so is a pane without events, which only has its place under the cap.
    """
    _wake(state, partials)
    partials = partials.take((partials.gap > 0) | (partials.sums[sums.COUNT] > 0))
    for name in sorted(set(partials.metric.tolist())):
        mine = partials.metric == name
        for merge in state.metrics.get(name, ()):
            rows = mine & (partials.gap == merge.gap) & (partials.pane == merge.pane)
            rows &= partials.topic == merge.metric.event
            if rows.any():
                _take(state, merge, partials.take(rows), grace)
    for source, mark in marks.items():
        held = state.marks.get(source)
        if held is None or held.last_offset <= mark.last_offset:
            state.marks[source] = mark


def _take(state: MergeState, merge: Merge, partials: Partials, grace: int) -> None:
    topic = merge.metric.event
    unknown = merge.unknown(partials, state.passed.get(topic, 0), grace)
    if unknown.any():
        offsets = partials.sums[sums.LAST]
        seen = np.array([_seen(state, topic, number) for number in partials.partition.tolist()])
        # What lies before its source's mark was here before the window was forgotten.
        new = unknown & (offsets > seen)
        if new.any():
            state.refused.append(partials.take(new))
        partials = partials.take(~unknown)
    merge.take(partials)


def _seen(state: MergeState, topic: str, partition: int) -> int:
    mark = state.marks.get((topic, partition))
    return -1 if mark is None else mark.last_offset


def _wake(state: MergeState, partials: Partials) -> None:
    """New events end a source's idleness, though its next mark is still to come."""
    for source, mark in state.marks.items():
        if not mark.idle:
            continue
        mine = (partials.topic == source[0]) & (partials.partition == source[1])
        if (partials.sums[sums.LAST, mine] > mark.last_offset).any():
            state.marks[source] = mark._replace(idle=False)


def watermark(state: MergeState, topic: str, partitions: int) -> int:
    """The smallest watermark over the partitions of a topic that are not idle.

    0 while one of them has not reported yet; SILENT when all are idle: then nothing is on its
    way and every window may close.
    """
    marks = [state.marks.get((topic, number)) for number in range(partitions)]
    known = [mark for mark in marks if mark is not None]
    if len(known) < partitions:
        return 0
    return min((mark.watermark for mark in known if not mark.idle), default=SILENT)


def clock(state: MergeState, topic: str, partitions: int) -> int:
    """What time it is for the events of a topic, in microseconds: its watermark.

    While all partitions are idle it goes on from the largest one with their silence, so that
    silence is seen. It may step back when one of them wakes.
    """
    found = watermark(state, topic, partitions)
    if found != SILENT:
        return found
    marks = [mark for (name, _), mark in state.marks.items() if name == topic]
    return max(mark.watermark for mark in marks) + min(mark.silent for mark in marks)


def _watermarks(state: MergeState, partitions_of: Callable[[str], int]) -> dict[str, int]:
    """The watermark of each topic that a metric reads."""
    topics = {merge.metric.event for merges in state.metrics.values() for merge in merges}
    return {topic: watermark(state, topic, partitions_of(topic)) for topic in sorted(topics)}


def publish(
    state: MergeState, partitions_of: Callable[[str], int], *, provisional: bool = True
) -> Iterator[Published]:
    """The windows to publish now: those that changed or that the watermark has passed.

    A final window that changes again is published with the next revision.

    Args:
        partitions_of: the number of partitions of a topic; all of them must have reported.
        provisional: whether windows that are not final are due as well.
    """
    marks = _watermarks(state, partitions_of)
    clocks = {topic: clock(state, topic, partitions_of(topic)) for topic in marks}
    for merges in state.metrics.values():
        for merge in merges:
            topic = merge.metric.event
            yield from merge.publish(marks[topic], clocks[topic], provisional=provisional)


def forget(state: MergeState, partitions_of: Callable[[str], int], grace: int) -> None:
    """Forget what is past; of panes in longer windows that are open their sum is kept.

    Silence forgets nothing: the next event may be as old as the last one.
    """
    for topic, mark in _watermarks(state, partitions_of).items():
        if mark != SILENT:
            state.passed[topic] = max(mark, state.passed.get(topic, 0))
    for merges in state.metrics.values():
        for merge in merges:
            merge.expire(state.passed.get(merge.metric.event, 0), grace)


def restore(
    state: MergeState, partials: Partials, rows: WindowRows, again: Bools, grace: int
) -> None:
    """Put stored entries and windows back into a state of which only marks and `passed` are set.

    Args:
        again: which windows are to be published once more.
    """
    for name, merges in state.metrics.items():
        mine, windows = partials.metric == name, rows.metric == name
        for merge in merges:
            # Rests of panes have gaps below zero.
            kept = partials.take(mine & (np.maximum(partials.gap, 0) == merge.gap))
            forgotten = state.passed.get(merge.metric.event, 0) - grace
            merge.restore(kept, rows.take(windows), again[windows], forgotten)


def stored(state: MergeState, *, all_of_it: bool) -> tuple[Partials, WindowRows]:
    """The entries and windows to keep: all, or what changed since the last time."""
    kept = [
        merge.stored(all_of_it=all_of_it) for merges in state.metrics.values() for merge in merges
    ]
    return (
        Partials.joined([partials for partials, _ in kept]),
        WindowRows.joined([rows for _, rows in kept]),
    )
