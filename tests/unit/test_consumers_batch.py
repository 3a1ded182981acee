"""Holding rows, what a store already has, waiting, and the guards around them."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nilo_consumers
from nilo_consumers import UnknownSinkError, run_sink
from nilo_consumers.backoff import Backoff
from nilo_consumers.batch import ORIGIN, Batch, Chunk, Holding, Policy, Span
from nilo_consumers.errors import MissingExtraError, StoreMovedError
from nilo_consumers.extras import require
from nilo_consumers.postgres import check_not_behind
from nilo_schemas.settings import Settings


def rows(partition: int, start: int, end: int) -> pa.Table:
    origin = [{"kafka_partition": partition, "kafka_offset": n} for n in range(start, end)]
    return pa.Table.from_pylist(origin, pa.schema(ORIGIN))


def chunk(partition: int, start: int, end: int) -> Chunk:
    return Chunk(partition, rows(partition, start, end), Span(start, end))


class Clock:
    """A clock that stands until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def holding(clock: Clock) -> Holding:
    return Holding("t", Policy(rows=10, seconds=5), clock)


def test_it_is_time_when_the_rows_are_reached() -> None:
    held = holding(Clock())
    assert [held.add(chunk(0, 0, 9)), held.add(chunk(1, 0, 1))] == [False, True]


def test_it_is_time_when_the_first_row_is_old_enough() -> None:
    clock = Clock()
    held = holding(clock)
    held.add(chunk(0, 0, 1))
    clock.now += 4
    held.add(chunk(0, 1, 2))
    assert not held.due()
    clock.now += 1
    assert held.due()


def test_nothing_held_is_never_due_and_age_begins_anew() -> None:
    clock = Clock()
    held = holding(clock)
    held.add(chunk(0, 0, 10))
    assert held.take() is not None
    clock.now += 60
    assert (held.due(), held.take()) == (False, None)
    held.add(chunk(0, 10, 11))
    assert not held.due()


def test_a_chunk_without_rows_moves_the_offsets_too() -> None:
    clock = Clock()
    held = holding(clock)
    held.add(chunk(3, 5, 5))
    clock.now += 5
    assert held.due()
    batch = held.take()
    assert batch is not None
    assert (batch.rows.num_rows, batch.spans) == (0, {3: Span(5, 5)})


def test_a_batch_joins_the_spans_of_each_partition() -> None:
    held = holding(Clock())
    for part in (chunk(0, 0, 3), chunk(1, 7, 8), chunk(0, 3, 5)):
        held.add(part)
    batch = held.take()
    assert batch is not None
    assert batch.spans == {0: Span(0, 5), 1: Span(7, 8)}
    assert batch.rows.num_rows == 6


@given(st.dictionaries(st.integers(0, 3), st.integers(0, 30)))
def test_beyond_leaves_exactly_what_the_store_has_not(stored: dict[int, int]) -> None:
    """[start, end) of partition p is [10p, 10p+10): stored offsets fall before, in and after it."""
    spans = {p: Span(10 * p, 10 * p + 10) for p in range(3)}
    table = pa.concat_tables([rows(p, s.start, s.end) for p, s in spans.items()])
    left = Batch("t", table, spans).beyond(stored)

    wanted = {
        (p, n) for p, s in spans.items() for n in range(s.start, s.end) if n >= stored.get(p, 0)
    }
    found = left.rows.to_pylist()
    assert {(row["kafka_partition"], row["kafka_offset"]) for row in found} == wanted
    assert len(found) == len(wanted)
    assert {p: s.end for p, s in left.spans.items()} == {p: 10 * p + 10 for p, _ in wanted}


def test_a_store_that_is_behind_is_an_error_that_names_both_offsets() -> None:
    batch = Batch("t", rows(0, 5, 6), {0: Span(5, 6)})
    check_not_behind(batch, {0: 5})
    with pytest.raises(StoreMovedError, match="t/0 up to offset 3, not 5"):
        check_not_behind(batch, {0: 3})


def test_waits_double_up_to_the_longest_with_jitter() -> None:
    backoff = Backoff(first=1, longest=8)
    for limit in (1, 2, 4, 8, 8, 8):
        assert limit / 2 <= backoff.next() <= limit


def test_a_missing_package_is_answered_with_the_install_command() -> None:
    with pytest.raises(MissingExtraError, match=r"no_such_thing.*nilometer\[consumers\]"):
        require(("pyarrow", "no_such_thing"))


def test_an_unknown_sink_names_those_there_are() -> None:
    with pytest.raises(UnknownSinkError, match=r"'mongo'.*postgres, parquet, sqlite"):
        run_sink("mongo", Settings(), stop=threading.Event())


def test_the_public_names_are_there() -> None:
    assert all(hasattr(nilo_consumers, name) for name in nilo_consumers.__all__)
