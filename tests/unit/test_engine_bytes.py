"""The same input gives the same bytes, however it is cut into batches and commits."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyruhvro
import pytest

from nilo_schemas.contracts import contract
from nilo_schemas.results import MetricWindow
from nilo_stream_processors.engine.merge import publish
from nilo_stream_processors.engine.merged import to_arrow
from tests.property.engine_cases import METRICS
from tests.unit.engine_runs import Row, Stage1, Stage2, call

NAMES = ("calls", "duration", "hopping", "session", "users", "cost", "mixed")
CHOSEN = {name: METRICS[name] for name in NAMES}
PARTITIONS, EVENTS = 3, 400


def stream(seed: int) -> list[list[Row]]:
    """Events of each partition, out of order, late and of the future now and then."""
    draw = random.Random(seed)
    rows: list[list[Row]] = [[] for _ in range(PARTITIONS)]
    for number in range(EVENTS):
        at = max(number / 2 + draw.uniform(-30, 5), 0)
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
        ahead = draw.random() < 0.02
        row["stamp"] = row["time"] - 3_600_000_001 if ahead else row["time"]
        rows[draw.randrange(PARTITIONS)].append(row)
    return rows


@dataclass
class Bytes:
    """What came out: Avro of the last revisions, and what was said of each event."""

    windows: dict[str, bytes]
    said: list[list[str]]


def run(rows: list[list[Row]], cut: random.Random | None) -> Bytes:
    """All events in one batch a partition; with `cut`, in batches and commits at random places."""
    sources = [Stage1(CHOSEN, number, disorder=2, grace=20, cap=3) for number in range(PARTITIONS)]
    merge = Stage2(CHOSEN, partitions=PARTITIONS, grace=20)
    left = [list(each) for each in rows]
    said: list[list[str]] = [[] for _ in sources]
    found: dict[str, bytes] = {}
    while any(left):
        for number, source in enumerate(sources):
            many = cut.randrange(25) if cut else EVENTS
            batch, left[number] = left[number][:many], left[number][many:]
            said[number] += source.feed(*batch)
            if cut is None or cut.random() < 0.3:
                merge.take(source.commit())
        if cut is not None and cut.random() < 0.5:
            found |= published(merge)
            merge.forget()
    for source in sources:
        source.state.idle = True
        merge.take(source.commit())
    return Bytes(found | published(merge), said)


def published(merge: Stage2) -> dict[str, bytes]:
    """The messages by window, without their revisions: how often one was told is not the same."""
    found = {}
    for windows in publish(merge.state, lambda _: PARTITIONS):
        batch = to_arrow(windows)
        names = batch.schema.names
        zeros = pa.array(np.zeros(len(windows), np.int64))
        batch = batch.set_column(names.index("revision"), batch.schema.field("revision"), zeros)
        (values,) = pyruhvro.serialize_record_batch(batch, json.dumps(contract(MetricWindow)), 1)
        places = zip(windows.series, windows.start.tolist(), values.to_pylist(), strict=True)
        for series, start, value in places:
            found[f"{windows.name} {windows.window} {start} {series}"] = value
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_last_revisions_are_equal_to_the_byte(seed: int) -> None:
    rows = stream(seed)
    whole, cut = run(rows, None), run(rows, random.Random(seed))

    assert cut.said == whole.said
    assert {"late", "future", "taken"} == {each for one in whole.said for each in one}
    # A session that was withdrawn was never there when all came at once.
    assert cut.windows.keys() >= whole.windows.keys()
    assert {key: cut.windows[key] for key in whole.windows} == whole.windows
    assert len(whole.windows) > 500
