"""What a commit costs: from the cells of stage 1 to windows as Avro, step by step."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyruhvro

from nilo_schemas.catalogue import Catalogue, Metric
from nilo_schemas.contracts import contract
from nilo_schemas.families import LlmEvent
from nilo_schemas.results import MetricWindow
from nilo_stream_processors.engine import merged, partials
from nilo_stream_processors.engine.merge import Mark, merge_state, publish, take
from nilo_stream_processors.engine.source import SourceState, changes
from nilo_stream_processors.frames import from_frame, in_parts, to_frame

SOURCE = (LlmEvent.kafka_topic, 0)
GRACE = 600_000_000  # microseconds
PARTIALS, WINDOWS = ("snapshot", "frame", "merge"), ("publish", "to_arrow", "to_avro")


def commit_costs(
    made: Callable[[], SourceState], metrics: dict[str, Metric], rounds: int
) -> dict[str, float]:
    """Microseconds of each step, for each partial or each window; the median of the rounds.

    Args:
        made: a state of stage 1 in which every cell has changed.
        metrics: what it measures.
        rounds: how often all of it is done.
    """
    turns = [_commit(made(), metrics) for _ in range(rounds)]
    figures: dict[str, float] = {"partials": turns[0][1]["partials"]}
    figures["windows"] = turns[0][1]["windows"]
    for names, unit in ((PARTIALS, "partial"), (WINDOWS, "window")):
        for name in names:
            seconds = statistics.median(taken[name] for taken, _ in turns)
            figures[f"{name}_us_per_{unit}"] = round(seconds * 1e6 / figures[f"{unit}s"], 2)
    return figures


def _commit(
    state: SourceState, metrics: dict[str, Metric]
) -> tuple[dict[str, float], dict[str, int]]:
    """Seconds of each step, and how much there was."""
    taken: dict[str, float] = {}
    merge, avro = merge_state(Catalogue(metrics=metrics)), json.dumps(contract(MetricWindow))
    mark = Mark(state.watermark, state.last_offset, idle=False)
    with _timed(taken, "snapshot"):
        changed = changes(state, SOURCE)
    with _timed(taken, "frame"):
        frames = [to_frame(partials.to_arrow(part), {}) for part in in_parts(changed)]
    with _timed(taken, "merge"):
        for frame in frames:
            batch, _ = from_frame(frame, partials.SCHEMA)
            take(merge, partials.from_arrow(batch), {SOURCE: mark}, GRACE)
    with _timed(taken, "publish"):
        windows = list(publish(merge, lambda _: 1))
    with _timed(taken, "to_arrow"):
        batches = [merged.to_arrow(each) for each in windows]
    with _timed(taken, "to_avro"):
        for batch in batches:
            pyruhvro.serialize_record_batch(batch, avro, 1)
    return taken, {"partials": len(changed), "windows": sum(map(len, windows))}


@contextmanager
def _timed(taken: dict[str, float], name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    taken[name] = time.perf_counter() - begin
