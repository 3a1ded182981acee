"""What the benchmark takes for right is what its events say, read back one by one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from nilo_schemas.codec import decode
from nilo_schemas.contracts import contract
from nilo_schemas.families import LlmEvent
from tests.bench.calls import SESSION, TRACE, Encoder
from tests.bench.jobs import metrics_of, write_job
from tests.bench.stream import Stream
from tests.bench.topic import expected

STREAM = Stream(events=6_000, series=10, per_minute=2_500)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def events() -> list[LlmEvent]:
    """The stream as a reader sees it, made in two pieces."""
    encoder, members, schema = Encoder(1), STREAM.members(), contract(LlmEvent)
    values = encoder.values(STREAM, 0, members[:1_000])
    values += encoder.values(STREAM, 1_000, members[1_000:])
    return [decode(value, LlmEvent, lambda _: schema) for value in values]


def minute_of(event: LlmEvent) -> int:
    return int((event.time - EPOCH).total_seconds() // 60) * 60_000_000


@pytest.mark.parametrize("status", [None, "RETRIED"])
def test_expected_windows_are_those_of_the_events(
    events: list[LlmEvent], status: str | None
) -> None:
    groups = defaultdict(list)
    for event in events:
        if status in (None, event.status):
            assert event.model is not None
            groups[minute_of(event), event.model].append(event)
    plain = {}
    for key, members in groups.items():
        costs = [int((event.cost or 0) * 10**9) for event in members]
        errors = sum(event.status == "ERROR" for event in members)
        plain[key] = (len(members), errors, sum(costs), min(costs), max(costs))

    assert len({start for start, _ in plain}) == 3
    assert expected(STREAM, "cost", status) == plain


def test_every_series_has_the_same_number_of_events_and_times_rise(events: list[LlmEvent]) -> None:
    assert set(np.bincount(STREAM.members()).tolist()) == {600}
    assert [event.time for event in events] == sorted(event.time for event in events)


def test_a_full_stream_has_the_same_calls_in_sessions_and_traces(events: list[LlmEvent]) -> None:
    stream = replace(STREAM, full=True)
    values = Encoder(1, full=True).values(stream, 0, stream.members())
    found = [decode(value, LlmEvent, lambda _: contract(LlmEvent)) for value in values]

    alike = {"time", "model", "status", "cost", "duration", "input_tokens", "source"}
    assert [each.model_dump(include=alike) for each in found] == [
        each.model_dump(include=alike) for each in events
    ]
    assert {len({each.id for each in found}), len({each.span_id for each in found})} == {6_000}
    assert len({each.trace_id for each in found}) == 6_000 / TRACE
    assert len({each.session_id for each in found}) == 6_000 / SESSION
    assert found[TRACE + 3].parent_span_id == found[TRACE].span_id


def test_the_closing_event_lies_behind_every_window(events: list[LlmEvent]) -> None:
    value = Encoder(1).closing(STREAM)
    closing = decode(value, LlmEvent, lambda _: contract(LlmEvent))

    assert (closing.time - events[-1].time).total_seconds() >= 600


@pytest.mark.parametrize(("job", "count"), [("one", 1), ("same", 3), ("ten", 10)])
def test_a_job_measures_its_own_metrics_and_no_shipped_one(
    tmp_path: Path, job: str, count: int
) -> None:
    metrics = metrics_of(write_job(job, tmp_path))

    assert len(metrics) == count
    assert {tuple(metric.windows) for metric in metrics.values()} == {("1m",)}
