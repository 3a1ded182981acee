"""The same input gives the same bytes, however it is cut, interleaved and partitioned."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
import pyruhvro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nilo_schemas.catalogue import Metric
from nilo_schemas.contracts import contract
from nilo_schemas.results import MetricWindow
from nilo_stream_processors.engine import sums
from nilo_stream_processors.engine.merged import Published, to_arrow
from tests.property.engine_cases import METRICS
from tests.rows import Row, call
from tests.stages import HOUR, Message, Stage1, Stage2

FEW = settings(max_examples=12)
NAMES = ("calls", "duration", "hopping", "session", "users", "cost", "mixed")
CHOSEN = {name: METRICS[name] for name in NAMES}
PARTITIONS, EVENTS, SEEDS = (1, 4, 8), 160, 6
CONTRACT, OTHER = json.dumps(contract(MetricWindow)), "__other__"
seeds = st.integers(0, SEEDS - 1)


@dataclass(frozen=True, eq=False)
class Rules:
    """How the stages are set (`grace` in seconds), and what is put over columns not compared."""

    metrics: dict[str, Metric]
    grace: float
    cap: int
    blank: dict[str, object]


# How often a window was told before is not what it holds.
CAPPED = Rules(CHOSEN, 20, 3, {"revision": 0})
# Lateness and the cap are those of a source partition, as offsets are: other partitions, others.
UNCAPPED = {name: one.model_copy(update={"max_series": None}) for name, one in CHOSEN.items()}
PATIENT = Rules(UNCAPPED, 24 * HOUR, 10_000, {"revision": 0, "sources": []})


def stream(seed: int) -> list[tuple[int, Row]]:
    """Events and their partitions of eight; out of order, late, of the future now and then."""
    draw, found = random.Random(seed), []
    for number in range(EVENTS):
        at = max(2 * number + draw.uniform(-60, 5), 0)
        row = call(
            at,
            draw.choice(["a", "b", "c", None]),
            duration=draw.choice([None, 0, draw.randrange(10**8)]),
            input_tokens=draw.choice([None, draw.randrange(2**53)]),
            cost=draw.choice([None, draw.randrange(10**12)]),
            session_id=draw.choice([None, "x", "y", "z"]),
            status=draw.choice(["OK", "OK", "ERROR", "RETRIED"]),
            sample_rate=draw.choice([1, 1, 5, 2**31 - 1]),
            attributes=draw.choice([{}, {"tenant": "t"}, {"tenant": "u"}]),
        )
        ahead = 3_600_001 if draw.random() < 0.05 else 0
        row["timestamp"] = row["time"] // 1000 - ahead
        found.append((draw.randrange(max(PARTITIONS)), row))
    return found


@dataclass(frozen=True)
class Turn:
    """A batch of a partition and perhaps its commit; `takes` messages and a commit of stage 2."""

    partition: int
    rows: int
    commits: bool
    takes: int | None


_turn = st.builds(
    Turn,
    st.integers(0, max(PARTITIONS) - 1),
    st.integers(0, 40),
    st.booleans(),
    st.none() | st.integers(0, 9),
)
# Left to itself, hypothesis draws short lists, in which little happens.
turns = st.sampled_from([2, 12, 30]).flatmap(
    lambda least: st.lists(_turn, min_size=least, max_size=40)
)


@dataclass
class Result:
    """What came out: Avro of the newest final windows, and what was said of each event."""

    windows: dict[str, bytes]
    said: list[list[str]]


class Flow:
    """A stream on its way through both stages, and the topic between them."""

    def __init__(self, rows: list[tuple[int, Row]], partitions: int, rules: Rules) -> None:
        self.blank = rules.blank
        self.sources = [
            Stage1(rules.metrics, number, disorder=2, grace=rules.grace, cap=rules.cap)
            for number in range(partitions)
        ]
        self.merge = Stage2(rules.metrics, partitions=partitions, grace=rules.grace)
        self.topic: list[Message] = []
        self.left: list[list[Row]] = [[] for _ in self.sources]
        for number, row in rows:
            self.left[number % partitions].append(row)
        self.said: list[list[str]] = [[] for _ in self.sources]
        self.found: dict[str, bytes | None] = {}

    def feed(self, number: int, rows: int) -> None:
        """A batch of a partition."""
        batch, self.left[number] = self.left[number][:rows], self.left[number][rows:]
        self.said[number] += self.sources[number].feed(*batch)

    def commit(self, number: int) -> None:
        """A commit of a partition."""
        self.topic.append(self.sources[number].commit())

    def publish(self, messages: int) -> None:
        """A chunk of messages for stage 2, and its commit."""
        self.merge.take(*self.topic[self.merge.position :][:messages])
        for windows in self.merge.due():
            self.found |= encoded(windows, self.blank)
        self.merge.forget()


def encoded(windows: Published, blank: dict[str, object]) -> Iterator[tuple[str, bytes | None]]:
    """The messages by window; None for a session that was withdrawn."""
    batch = to_arrow(windows)
    for name, value in blank.items():
        field = batch.schema.field(name)
        nothing = pa.array([value] * len(windows), field.type)
        batch = batch.set_column(batch.schema.names.index(name), field, nothing)
    (values,) = pyruhvro.serialize_record_batch(batch, CONTRACT, 1)
    columns = windows.series, windows.start.tolist(), windows.content.sums[sums.COUNT].tolist()
    for series, start, count, value in zip(*columns, values.to_pylist(), strict=True):
        yield f"{windows.name} {windows.window} {start} {series}", value if count else None


def run(
    rows: list[tuple[int, Row]], partitions: int, rules: Rules, course: Sequence[Turn] = ()
) -> Result:
    """All events through both stages: turn by turn, then the rest at once, until all is idle."""
    flow = Flow(rows, partitions, rules)
    for turn in course:
        number = turn.partition % partitions
        flow.feed(number, turn.rows)
        if turn.commits:
            flow.commit(number)
        if turn.takes is not None:
            flow.publish(turn.takes)
    for number, source in enumerate(flow.sources):
        flow.feed(number, EVENTS)
        source.state.idle = True
        flow.commit(number)
    flow.publish(len(flow.topic))
    windows = {key: value for key, value in flow.found.items() if value is not None}
    return Result(windows, flow.said)


@cache
def whole(seed: int, partitions: int, rules: Rules) -> Result:
    """One batch a partition."""
    return run(stream(seed), partitions, rules)


@pytest.mark.parametrize("partitions", PARTITIONS)
@FEW
@given(seeds, turns)
def test_cuts_and_interleaving_change_no_byte(
    partitions: int, seed: int, course: list[Turn]
) -> None:
    cut = run(stream(seed), partitions, CAPPED, course)

    assert cut == whole(seed, partitions, CAPPED)


@FEW
@given(seeds, st.sampled_from(PARTITIONS), turns)
def test_the_number_of_partitions_changes_no_content_while_no_event_is_late(
    seed: int, partitions: int, course: list[Turn]
) -> None:
    found = run(stream(seed), partitions, PATIENT, course).windows

    assert found == whole(seed, partitions, PATIENT).windows == whole(seed, 1, PATIENT).windows


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_streams_hold_what_the_tests_above_are_about(seed: int, partitions: int) -> None:
    capped, patient = (whole(seed, partitions, rules) for rules in (CAPPED, PATIENT))

    assert {said for one in capped.said for said in one} == {"taken", "late", "future"}
    assert {said for one in patient.said for said in one} == {"taken", "future"}
    assert any(OTHER in key for key in capped.windows)
    assert not any(OTHER in key for key in patient.windows)
    assert len(capped.windows) > 400
