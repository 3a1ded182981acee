"""Frames: what goes in comes out, garbage is refused, and no part is too large for a message."""

from __future__ import annotations

import random
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilo_schemas.catalogue import Catalogue
from nilo_stream_processors.engine import partials as arrow
from nilo_stream_processors.engine.merge import Mark, merge_state, take
from nilo_stream_processors.engine.partials import Partials
from nilo_stream_processors.engine.tallies import Bins
from nilo_stream_processors.engine.window_rows import WindowRows
from nilo_stream_processors.frames import from_frame, header_of, in_parts, to_frame
from tests.property.engine_cases import METRICS
from tests.property.strategies import SHORT, text
from tests.rows import call, measured
from tests.stages import Stage1

KAFKA_LIMIT = 1_000_000
CHOSEN = {name: METRICS[name] for name in ("duration", "session", "users")}
_plain = st.none() | st.booleans() | st.integers() | text
_headers = st.dictionaries(text, st.recursive(_plain, st.lists, max_leaves=5))


def partials(series: int = 7, label: str = "é\n") -> Partials:
    """Panes and sessions, with histograms and registers."""
    stage = Stage1(CHOSEN)
    for at in (5, 17, 48):
        names = (f"{number:05}{label}" for number in range(series))
        stage.feed(*(call(at, name, session_id=f"s{at}", duration=at) for name in names))
    return stage.commit()[0]


def columns(sent: Partials) -> list[list[object]]:
    found = []
    for column in (getattr(sent, field.name) for field in fields(sent)):
        bins = isinstance(column, Bins)
        parts = [getattr(column, each.name) for each in fields(column)] if bins else [column]
        found += [part.tolist() for part in parts]
    return found


def surprises(*frames: bytes) -> set[str]:
    """The errors that nobody who reads frames is prepared for."""
    found = set()
    for frame in frames:
        try:
            from_frame(frame, arrow.SCHEMA)
        except (ValueError, pa.ArrowException):
            pass
        except Exception as error:
            found.add(type(error).__name__)
    return found


@SHORT
@given(_headers)
def test_a_batch_and_its_header_come_back(header: dict[str, object]) -> None:
    sent = partials()

    frame = to_frame(arrow.to_arrow(sent), header)
    batch, found = from_frame(frame, arrow.SCHEMA)

    assert columns(arrow.from_arrow(batch)) == columns(sent)
    assert found == header_of(frame) == header


@pytest.mark.parametrize("frame", [b"", b"no frame", to_frame(arrow.to_arrow(partials()), {})[:99]])
def test_a_header_needs_a_frame(frame: bytes) -> None:
    with pytest.raises(ValueError, match="no frame"):
        header_of(frame)


@pytest.mark.parametrize("rows", [slice(0, 0), slice(0, 1), slice(3, 9)])
def test_few_partials_come_back_as_well(rows: slice) -> None:
    sent = partials()
    sent = sent.take(np.arange(len(sent))[rows])

    batch, _ = from_frame(to_frame(arrow.to_arrow(sent), {}), arrow.SCHEMA)

    assert columns(arrow.from_arrow(batch)) == columns(sent)


def test_a_frame_is_a_plain_arrow_stream() -> None:
    """Any Arrow library reads it."""
    frame = to_frame(arrow.to_arrow(partials()), {"marks": [["events.llm", 0, 1, 2, False]]})

    table = pa.ipc.open_stream(frame).read_all()

    assert table.schema.names == arrow.SCHEMA.names
    assert table.schema.metadata == {b"nilo": b'{"marks": [["events.llm", 0, 1, 2, false]]}'}


def test_columns_of_another_version_are_refused() -> None:
    batch = pa.RecordBatch.from_pydict({"a": [1]})

    assert from_frame(to_frame(batch, {"b": 1}))[1] == {"b": 1}
    with pytest.raises(ValueError, match="not those of this version"):
        from_frame(to_frame(batch, {}), arrow.SCHEMA)


def test_a_stream_without_a_header_has_none() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, arrow.SCHEMA) as writer:
        writer.write_batch(arrow.to_arrow(partials()))

    assert from_frame(sink.getvalue().to_pybytes(), arrow.SCHEMA)[1] is None


GARBAGE = [b"", b"\0", b"garbage", b"\0" * 100, b'{"json": 1}', b"\0\0\0\0\1ab"]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_bytes_that_are_no_stream_are_refused(garbage: bytes) -> None:
    with pytest.raises((ValueError, pa.ArrowException)):
        from_frame(garbage, arrow.SCHEMA)


@pytest.mark.parametrize("garbage", [b"\0\0\0\x80", b"\xff" * 8 + b"\0"])
def test_bytes_that_say_a_wrong_length_are_refused(garbage: bytes) -> None:
    with pytest.raises((ValueError, pa.ArrowException)):
        from_frame(garbage, arrow.SCHEMA)


def test_a_frame_that_was_cut_short_is_refused() -> None:
    frame = to_frame(arrow.to_arrow(partials()), {"marks": []})

    assert surprises(*(frame[:end] for end in range(0, len(frame), 7))) == set()


def test_a_frame_with_other_bytes_in_it_is_refused_or_taken() -> None:
    frame, draw = to_frame(arrow.to_arrow(partials()), {"marks": []}), random.Random(1)
    changed = []
    for _ in range(2_000):
        copy = bytearray(frame)
        for _ in range(draw.choice([1, 2, 8])):
            copy[draw.randrange(len(frame))] = draw.randrange(256)
        changed.append(bytes(copy))

    assert surprises(*changed) == set()


@pytest.mark.parametrize(("series", "several"), [(0, False), (1, False), (4_000, True)])
def test_parts_are_all_partials_in_order_and_fit_into_messages(series: int, several: bool) -> None:
    sent = partials(series, "")

    parts = in_parts(sent)

    assert columns(Partials.joined(parts)) == columns(sent)
    assert (len(parts) > 1) == several
    assert max(len(to_frame(arrow.to_arrow(part), {})) for part in parts) < KAFKA_LIMIT


def test_of_nothing_there_is_one_empty_part() -> None:
    """It carries the marks."""
    assert [len(part) for part in in_parts(Partials.joined([]))] == [0]


def test_sketches_and_histograms_count_in_the_size_of_a_part() -> None:
    metric = measured(
        aggregates=["quantiles", "distinct"], distinct="session_id", dimensions=[], windows=["1s"]
    )
    stage = Stage1({"m": metric})
    for at in range(60):
        rows = (call(at, session_id=f"{at} {n}", duration=n * n) for n in range(1_500))
        stage.feed(*rows)
    parts = in_parts(stage.commit()[0])

    assert len(parts) > 1
    assert max(len(to_frame(arrow.to_arrow(part), {})) for part in parts) < KAFKA_LIMIT


def test_parts_with_long_labels_fit_into_messages() -> None:
    parts = in_parts(partials(1_000, "x" * 1_000))

    assert max(len(to_frame(arrow.to_arrow(part), {})) for part in parts) < KAFKA_LIMIT


def test_published_windows_go_in_parts_as_well() -> None:
    """As they are stored: 12,000 windows with labels of 50 letters."""
    count = 12_000
    names = np.array([f"{number:050}" for number in range(count)], np.object_)
    numbers = np.arange(count)
    flags = numbers % 2 == 0
    rows = WindowRows.of(("m", "10s"), names, numbers, numbers + 10, numbers % 3, flags)

    frames = [to_frame(part.to_arrow(), {}) for part in in_parts(rows)]

    assert max(map(len, frames)) < KAFKA_LIMIT
    found = WindowRows.joined([WindowRows.from_arrow(from_frame(each)[0]) for each in frames])
    assert found.to_arrow().equals(rows.to_arrow())
    assert len(in_parts(rows.take(numbers[:0]))) == 1


def test_what_came_in_parts_is_taken_as_one() -> None:
    sent, state = partials(3_000, ""), merge_state(Catalogue(metrics=CHOSEN))
    for part in in_parts(sent):
        batch, _ = from_frame(to_frame(arrow.to_arrow(part), {}), arrow.SCHEMA)
        take(state, arrow.from_arrow(batch), {("events.llm", 0): Mark(1, 10**6, idle=False)}, 0)

    held = sum(len(merge.entries) for merges in state.metrics.values() for merge in merges)
    assert held == len(sent)
