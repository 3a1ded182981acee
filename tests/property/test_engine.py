"""The engine against a reference written the dumb way: a loop over events in plain Python."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from nilo_schemas.arrow import arrow_schema
from nilo_schemas.catalogue import Catalogue, Metric
from nilo_schemas.families import LlmEvent
from nilo_stream_processors.engine.aggregate import Disorder, SourceState, aggregate
from nilo_stream_processors.engine.merge import MergeState, publish, take
from nilo_stream_processors.engine.partials import partial_of, restore, watermark_of

START = datetime(2026, 1, 1, tzinfo=UTC)
GENEROUS = Disorder(bound=0, grace=10**15)
METRIC = Metric.model_validate(
    {
        "description": "d",
        "owner": "o",
        "event": "events.llm",
        "where": {"type": "llm.call"},
        "value": "duration",
        "unit": "seconds",
        "error_when": {"status": "ERROR"},
        "dimensions": ["provider", "model"],
        "windows": ["10s", "1m"],
        "aggregates": ["count", "errors", "sum", "min", "max", "mean", "quantiles"],
    }
)
METRICS = {"llm.duration": METRIC}

events = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["llm.call", "llm.stream"]),
            "at": st.integers(0, 200_000_000),
            "model": st.sampled_from([None, "a", "b"]),
            "provider": st.sampled_from(["p", "q"]),
            "status": st.sampled_from(["OK", "ERROR"]),
            "duration": st.one_of(st.none(), st.integers(0, 10**9)),
            "sample_rate": st.integers(1, 5),
            "partition": st.integers(0, 2),
        }
    ),
    max_size=60,
)


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """An Arrow batch as the decoder makes it."""
    values = []
    for row in rows:
        duration = row["duration"]
        event = LlmEvent(
            type=row["type"],
            source="s",
            time=START + timedelta(microseconds=row["at"]),
            model=row["model"],
            provider=row["provider"],
            status=row["status"],
            duration=None if duration is None else timedelta(microseconds=duration),
            sample_rate=row["sample_rate"],
        )
        record = event.to_avro()
        record["attributes"] = list(record["attributes"].items())
        values.append(record)
    return pa.RecordBatch.from_pylist(values, arrow_schema(LlmEvent))


def reference(rows: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """What the windows must hold, one event at a time."""
    found: dict[Any, dict[str, Any]] = defaultdict(lambda: {"n": 0, "e": 0, "v": []})
    for row in rows:
        if row["type"] != "llm.call" or row["duration"] is None:
            continue
        for seconds in (10, 60):
            at = int(START.timestamp()) * 10**6 + row["at"]
            start = at // (seconds * 10**6) * seconds
            cell = found[seconds, start, row["provider"], row["model"] or ""]
            cell["n"] += row["sample_rate"]
            cell["e"] += row["sample_rate"] * (row["status"] == "ERROR")
            cell["v"] += [row["duration"]] * row["sample_rate"]
    return found


def cut(rows: list[Any], edges: list[int]) -> list[list[Any]]:
    """The rows in pieces, cut at the given places."""
    places = sorted({0, len(rows), *(edge % (len(rows) + 1) for edge in edges)})
    return [rows[a:b] for a, b in pairwise(places)]


def run(rows: list[dict[str, Any]], edges: list[int], *, restart: bool = False) -> MergeState:
    """All rows through both stages, each partition cut into batches at the edges."""
    merge = MergeState()
    for number in range(3):
        mine = [row for row in rows if row["partition"] == number]
        state, offset = SourceState(), 0
        for piece in cut(mine, edges):
            offsets = np.arange(offset, offset + len(piece))
            aggregate(state, METRICS, batch_of(piece), offsets, GENEROUS)
            offset += len(piece)
            send(state, number, merge)
            if restart:
                state = restarted(state, number)
        state.idle = True
        take(merge, watermark_of(("events.llm", number), state), 0)
    return merge


def send(state: SourceState, number: int, merge: MergeState) -> None:
    """What stage 1 publishes goes into stage 2, twice: snapshots may come again."""
    source = ("events.llm", number)
    for key in state.dirty:
        partial = partial_of(key, state.cells[key], METRIC, source, state.watermark)
        take(merge, partial, GENEROUS.grace)
        take(merge, partial, GENEROUS.grace)
    state.dirty.clear()


def restarted(state: SourceState, number: int) -> SourceState:
    """The state as a new process recovers it from the changelog."""
    source = ("events.llm", number)
    fresh = SourceState()
    for key, cell in state.cells.items():
        restore(fresh, partial_of(key, cell, METRIC, source, state.watermark), METRIC)
    restore(fresh, watermark_of(source, state), None)
    return fresh


def finals(merge: MergeState) -> dict[Any, Any]:
    catalogue = Catalogue(metrics=METRICS)
    found = {}
    for _, window in publish(merge, catalogue, lambda topic: 3):
        assert window.final
        seconds = int((window.window_end - window.window_start).total_seconds())
        key = (seconds, int(window.window_start.timestamp()), *window.dimensions.values())
        found[key] = window
    return found


@settings(max_examples=60, deadline=None)
@given(events, st.lists(st.integers(0, 60), max_size=5), st.booleans())
def test_windows_equal_the_reference(
    rows: list[dict[str, Any]], edges: list[int], restart: bool
) -> None:
    windows, wanted = finals(run(rows, edges, restart=restart)), reference(rows)

    assert windows.keys() == wanted.keys()
    for key, cell in wanted.items():
        window, values = windows[key], sorted(cell["v"])
        assert (window.count, window.errors) == (cell["n"], cell["e"])
        assert window.sum == sum(values) / 10**6
        assert (window.min, window.max) == (values[0] / 10**6, values[-1] / 10**6)
        assert window.mean == sum(values) / 10**6 / cell["n"]
        for name, share in (("p50", 0.5), ("p95", 0.95)):
            exact = values[max(math.ceil(share * len(values)), 1) - 1] / 10**6
            assert math.isclose(window.quantiles[name], exact, rel_tol=0.011)


@settings(max_examples=40, deadline=None)
@given(events, st.lists(st.integers(0, 60), max_size=5))
def test_batch_edges_change_no_byte(rows: list[dict[str, Any]], edges: list[int]) -> None:
    whole, pieces = finals(run(rows, [])), finals(run(rows, edges))

    assert {k: w.model_dump_json() for k, w in whole.items()} == {
        k: w.model_dump_json() for k, w in pieces.items()
    }


@settings(max_examples=40, deadline=None)
@given(events, st.integers(0, 60))
def test_events_that_recovered_cells_hold_are_not_counted_twice(
    rows: list[dict[str, Any]], again: int
) -> None:
    """The changelog is ahead of the watermark entry: the same events are read again."""
    merge = MergeState()
    for number in range(3):
        mine = [row for row in rows if row["partition"] == number]
        state = SourceState()
        aggregate(state, METRICS, batch_of(mine), np.arange(len(mine)), GENEROUS)
        fresh = SourceState()
        for key, cell in state.cells.items():
            source = ("events.llm", number)
            restore(fresh, partial_of(key, cell, METRIC, source, state.watermark), METRIC)
        first = min(again, len(mine))
        offsets = np.arange(first, len(mine))
        aggregate(fresh, METRICS, batch_of(mine[first:]), offsets, GENEROUS)
        fresh.dirty = set(fresh.cells)
        send(fresh, number, merge)
        fresh.idle = True
        take(merge, watermark_of(("events.llm", number), fresh), 0)

    windows = finals(merge)

    assert {k: w.count for k, w in windows.items()} == {
        k: cell["n"] for k, cell in reference(rows).items()
    }
