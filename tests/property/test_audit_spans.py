"""The ledger's stretches of offsets against plain sets and counters of offsets."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from nilo_consumers.audit.ledger import Held, entry
from nilo_consumers.audit.spans import both, count, minus, of_offsets, repeated, stretches, union
from nilo_consumers.batch import Span

LAST = 40
span = st.tuples(st.integers(0, LAST), st.integers(0, LAST)).map(lambda ends: Span(*sorted(ends)))
spans = st.lists(span, max_size=6)
offsets = st.lists(st.integers(0, LAST), max_size=12)


def each(found: list[Span]) -> Counter[int]:
    return Counter(offset for one in found for offset in range(one.start, one.end))


def in_order(found: list[Span]) -> bool:
    """Not empty, in order, and apart from each other."""
    ends = [end for one in found for end in (one.start, one.end)]
    return ends == sorted(set(ends))


@given(spans, spans)
def test_sets_of_offsets(one: list[Span], other: list[Span]) -> None:
    a, b = union(one), union(other)

    assert set(each(a)) == set(each(one))
    assert set(each(repeated(one))) == {n for n, times in each(one).items() if times > 1}
    assert set(each(minus(a, b))) == set(each(a)) - set(each(b))
    assert set(each(both(a, b))) == set(each(a)) & set(each(b))
    assert count(a) == len(each(a))
    assert all(map(in_order, (a, repeated(one), minus(a, b), both(a, b))))


@given(offsets)
def test_stretches_of_offsets(numbers: list[int]) -> None:
    assert set(each(of_offsets(numbers))) == set(numbers)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, LAST)), max_size=30))
def test_stretches_of_rows_hold_each_row_once(rows: list[tuple[int, int]]) -> None:
    partitions, places = zip(*rows, strict=True) if rows else ((), ())
    table = pa.table(
        {
            "kafka_partition": pa.array(partitions, pa.int32()),
            "kafka_offset": pa.array(places, pa.int64()),
        }
    )

    found: Counter[tuple[int, int]] = Counter()
    for partition, one in stretches(table):
        found.update((partition, offset) for offset in range(one.start, one.end))

    assert found == Counter(rows)


@given(
    span, st.none() | st.integers(0, LAST), offsets, st.lists(offsets, max_size=2), st.booleans()
)
def test_every_offset_has_its_place_in_the_ledger(
    asked: Span, next_offset: int | None, rows: list[int], absent: list[list[int]], whole: bool
) -> None:
    held = Held(next_offset, [Span(row, row + 1) for row in rows])
    reasons = {str(number): of_offsets(dead) for number, dead in enumerate(absent)}
    line = entry(("t", 0, "s"), asked, held, reasons, whole=whole)

    passed = {n for n in range(asked.start, asked.end) if n < (next_offset or 0)}
    times, dead = Counter(rows), {n for some in absent for n in some}
    assert set(range(line.passed.start, line.passed.end)) == passed
    assert line.rows == sum(times[n] for n in passed)
    assert set(each([*line.missing])) == passed - set(rows) - dead
    assert set(each([*line.doubled])) == {n for n in passed if times[n] > 1}
    assert line.also_dead == len(passed & set(rows) & dead)
    assert line.behind == asked.end - asked.start - len(passed)
    outside = {n for n in rows if n >= line.passed.end and (whole or n < asked.end)}
    assert set(each([*line.beyond])) == outside
    assert line.older == (len({n for n in rows if n < asked.start}) if whole else 0)
    assert line.absent == {
        reason: len(passed & set(some)) for reason, some in zip("01", absent, strict=False)
    }
