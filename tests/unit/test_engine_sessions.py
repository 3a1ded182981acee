"""Sessions: joined in a partition and over partitions, withdrawn, closed, forgotten."""

from __future__ import annotations

import itertools

import pytest

from nilo_stream_processors.engine import sums
from tests.rows import SECOND, Row, call, measured
from tests.stages import Cell, Shown, Stage1, Stage2

METRICS = {"m": measured(windows=["session 10s"], dimensions=["session_id"])}
# Start, end, count, whether it is final, and the revision.
Told = set[tuple[float, float, int, bool, int]]


def step(at: float, name: str = "x", weight: int = 1) -> Row:
    return call(at, session_id=name, sample_rate=weight)


def told(windows: list[Shown]) -> Told:
    return {(w.start, w.end, w.row["count"], w.row["final"], w.row["revision"]) for w in windows}


def after(source: Stage1, merge: Stage2, *rows: Row) -> Told:
    """A batch, a commit of both stages, and what was published."""
    source.feed(*rows)
    merge.take(source.commit())
    return told(merge.commit())


@pytest.mark.parametrize("cut", range(6))
def test_events_at_most_a_gap_apart_are_one_session_whatever_the_cuts(cut: int) -> None:
    """0    5       15    |   25.000001      y: 7"""
    rows = [step(0), step(15), step(25.000001), step(7, "y"), step(5)]
    stage = Stage1(METRICS)
    stage.feed(*rows[:cut])
    stage.feed(*rows[cut:])

    assert stage.cells() == [
        Cell("m", ("x",), 0, 3),
        Cell("m", ("x",), 25.000001, 1),
        Cell("m", ("y",), 7, 1),
    ]


def test_every_order_of_arrival_gives_the_same_sessions() -> None:
    """0 8 16    30 40    55: weights of powers of two say which events are in which session."""
    rows = [step(at, weight=2**n) for n, at in enumerate((0, 8, 16, 30, 40, 55))]
    for order in itertools.permutations(rows):
        stage = Stage1(METRICS)
        stage.feed(*order[:2])
        stage.commit()
        stage.feed(*order[2:4])
        stage.feed(*order[4:])

        assert stage.cells() == [
            Cell("m", ("x",), 0, 0b111),
            Cell("m", ("x",), 30, 0b11000),
            Cell("m", ("x",), 55, 0b100000),
        ]


def test_a_bridge_joins_two_sessions_and_withdraws_the_later_one() -> None:
    """10 is a gap from 0 and from 20. The longer session is final once its end has passed, too."""
    source, merge = Stage1(METRICS), Stage2(METRICS)
    assert after(source, merge, step(0), step(20)) == {(0, 10, 1, True, 0), (20, 30, 1, False, 0)}

    assert after(source, merge, step(10)) == {(0, 30, 3, False, 1), (20, 30, 0, False, 0)}
    assert after(source, merge, step(31, "y")) == {
        (0, 30, 3, True, 1),
        (20, 30, 0, True, 0),
        (31, 41, 1, False, 0),
    }


def test_a_final_session_is_withdrawn_by_a_revision() -> None:
    source, merge = Stage1(METRICS), Stage2(METRICS)
    assert (20, 30, 1, True, 0) in after(source, merge, step(20), step(30, "y"))

    assert after(source, merge, step(15)) == {(15, 30, 2, True, 0), (20, 30, 0, True, 1)}


def test_a_session_that_grows_at_its_beginning_is_withdrawn_at_its_old_start() -> None:
    source, merge = Stage1(METRICS), Stage2(METRICS)
    after(source, merge, step(20))

    assert after(source, merge, step(15)) == {(15, 30, 2, False, 0), (20, 30, 0, False, 0)}


def test_a_withdrawn_session_has_no_sources_and_no_numbers() -> None:
    source, merge = Stage1(METRICS), Stage2(METRICS)
    after(source, merge, step(20))
    source.feed(step(15))
    merge.take(source.commit())

    row = {each.start: each for each in merge.publish()}[20].row

    assert (row["sources"], row["sum"], row["mean"], row["quantiles"]) == ([], None, None, {})


def test_sessions_of_partitions_hang_together_in_stage_2() -> None:
    """P0: 0, 20.  P1: 10, which is a gap from both."""
    sources = [Stage1(METRICS, number) for number in range(2)]
    merge = Stage2(METRICS, partitions=2)
    sources[0].feed(step(0), step(20))
    merge.take(sources[0].commit())
    assert told(merge.publish()) == {(0, 10, 1, False, 0), (20, 30, 1, False, 0)}
    sources[1].feed(step(10))
    merge.take(sources[1].commit())

    found = {each.start: each for each in merge.publish()}

    assert told(list(found.values())) == {(0, 30, 3, False, 0), (20, 30, 0, False, 0)}
    assert found[0].ranges() == {0: (0, 1), 1: (0, 0)}


def test_a_session_closes_a_gap_behind_its_last_event() -> None:
    source, merge = Stage1(METRICS), Stage2(METRICS)
    after(source, merge, step(0), step(7))

    assert after(source, merge, step(16.999999, "y")) == {(16.999999, 26.999999, 1, False, 0)}
    assert after(source, merge, step(17, "y")) == {
        (0, 17, 2, True, 0),
        (16.999999, 27, 2, False, 0),
    }


def test_forgotten_sessions_do_not_come_back() -> None:
    source, merge = Stage1(METRICS, grace=0), Stage2(METRICS, grace=0)
    after(source, merge, step(0))
    after(source, merge, step(100, "y"))
    woken = Stage1(METRICS, 1, grace=0)
    woken.feed(step(0, "z"))

    merge.take(woken.commit())

    assert merge.publish() == []
    assert [len(each) for each in merge.state.refused] == [1]


def test_what_can_be_joined_no_more_is_forgotten_in_both_stages() -> None:
    """Sessions without end of their own series: what is held does not grow."""
    source, merge = Stage1(METRICS, grace=5), Stage2(METRICS, grace=5)
    for number in range(50):
        after(source, merge, step(30 * number, f"s{number}"), step(30 * number + 8, f"s{number}"))

    assert [cell.labels[0] for cell in source.cells()] == ["s49"]
    assert len(merge.state.metrics["m"][0].entries.slots()) <= 2


def test_sessions_go_on_after_a_crash_of_both_stages() -> None:
    source, merge = Stage1(METRICS), Stage2(METRICS)
    source.feed(step(0), step(20))
    merge.take(source.commit())
    published = merge.commit()
    source.crash()
    merge.crash()

    assert merge.publish() == published
    assert after(source, merge, step(10)) == {(0, 30, 3, False, 1), (20, 30, 0, False, 0)}


def test_a_withdrawal_is_told_though_a_snapshot_was_saved_and_not_published() -> None:
    """As the aggregator does it: it saves all, crashes, and publishes what it saved last."""
    source, merge = Stage1(METRICS), Stage2(METRICS)
    after(source, merge, step(0), step(20))
    source.feed(step(10))
    source.commit(snapshot=True)

    merge.take(*source.crash())

    assert told(merge.publish()) == {(0, 30, 3, False, 1), (20, 30, 0, False, 0)}


def test_the_partial_of_a_session_says_its_first_and_last_event() -> None:
    source = Stage1(METRICS)
    source.feed(step(3), step(9))

    partials, _ = source.commit()

    assert (int(partials.end[0] - partials.start[0]), int(partials.gap[0])) == (
        6 * SECOND,
        10 * SECOND,
    )
    assert list(partials.sums[sums.COUNT]) == [2]
