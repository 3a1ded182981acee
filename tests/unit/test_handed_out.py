"""What is in hand, and what counts as getting on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from faust.types import TP, ConsumerMessage

from nilo_stream_processors.fetch import Chunk
from nilo_stream_processors.handed_out import IN_HAND_BYTES, REST_SECONDS, SMALL_BYTES, HandedOut

ONE, TWO = TP("t", 0), TP("t", 1)


def message(tp: TP, offset: int, size: int = 0) -> ConsumerMessage:
    """The message of a chunk whose last record has this offset."""
    chunk = Chunk([SimpleNamespace(offset=offset)], size, 0)
    return ConsumerMessage(
        tp.topic, tp.partition, offset, 0.0, 0, None, None, cast("Any", chunk), None, tp=tp
    )


def test_what_is_done_makes_room() -> None:
    handed = HandedOut(lambda: 0)
    large, small, other = message(ONE, 4, IN_HAND_BYTES), message(ONE, 5, 7), message(TWO, 0, 5)
    for one in (large, small, other):
        handed.add(one)

    assert handed.in_hand() == {ONE: IN_HAND_BYTES + 7, TWO: 5}
    assert handed.room(["t", "u"]) == {"t": -12, "u": IN_HAND_BYTES}
    large.acked = True
    assert handed.room(["t"]) == {"t": IN_HAND_BYTES - 12}
    handed.forget()
    assert handed.in_hand() == {}


def test_a_partition_rests_while_its_small_chunk_is_in_hand_and_for_a_moment() -> None:
    now = 50.0
    handed = HandedOut(lambda: 0, clock=lambda: now)
    small, large = message(ONE, 4, SMALL_BYTES - 1), message(TWO, 4, SMALL_BYTES)
    handed.add(small)
    handed.add(large)

    assert handed.resting() == {ONE}
    small.acked = True
    assert handed.resting() == {ONE}
    now += REST_SECONDS
    assert handed.resting() == set()
    small.acked = False
    handed.add(small)
    now += 10 * REST_SECONDS
    assert handed.resting() == {ONE}
    handed.add(message(ONE, 5, SMALL_BYTES))
    assert handed.resting() == set()
    handed.add(small)
    handed.forget()
    assert handed.resting() == set()


def test_what_is_handed_out_gets_on_by_commits_and_by_what_is_written_for_them() -> None:
    delivered = 100
    handed = HandedOut(lambda: delivered)
    handed.begin_at({ONE: 3, TWO: None})

    def mark(position: int = 10) -> tuple[object, int | None]:
        standing = handed.standings({ONE: 20}, {ONE: position})["t/0"]
        return standing.mark, standing.left

    assert mark() == ((3, 10), 10)  # nothing is handed out: the position counts
    chunk = message(ONE, 9)
    handed.add(chunk)
    assert mark() == mark(15) == ((3, 0), 17)
    chunk.acked = True
    with handed.writing():
        delivered = 107
        assert mark() == ((3, 7), 17)
    with handed.writing():
        delivered = 110
        assert mark() == ((3, 7), 17)  # less than in the longest write: no news
    handed.confirm({ONE: 10})
    assert mark(15) == ((10, 15), 5)


def test_what_hangs_is_not_helped_by_what_others_write_and_commit() -> None:
    delivered = 100
    handed = HandedOut(lambda: delivered)
    handed.begin_at({ONE: 3, TWO: 0})
    hung, done = message(ONE, 9), message(TWO, 9)
    done.acked = True
    handed.add(hung)
    handed.add(done)
    marks = set()
    for offset in range(10, 15):
        with handed.writing():
            delivered += offset
            standings = handed.standings({ONE: 20, TWO: 20}, {ONE: 10, TWO: 10})
            marks.add(standings["t/0"].mark)
        handed.confirm({TWO: offset})

    assert marks == {(3, 0)}
