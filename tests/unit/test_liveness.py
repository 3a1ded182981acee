"""What counts as stuck, by a clock of the test; and the lines of a recovery."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from nilo_stream_processors.liveness import Liveness, Standing, Stuck
from nilo_stream_processors.recovery import Progress


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def looks(
    *seen: Mapping[str, Standing] | None, every: float = 10.0, stuck_after: float = 60.0
) -> list[list[Stuck]]:
    """The verdict of each look."""
    clock = Clock()
    liveness = Liveness(stuck_after, clock)
    verdicts = []
    for one in seen:
        clock.now += every
        verdicts.append(liveness.look(one))
    return verdicts


BEHIND = {"events.llm/0": Standing(mark=7, left=3)}


def test_stuck_after_exactly_the_configured_time_without_progress() -> None:
    verdicts = looks(*[BEHIND] * 8)
    assert verdicts[:6] == [[]] * 6
    assert verdicts[6:] == [[Stuck("events.llm/0", 60.0, 3)], [Stuck("events.llm/0", 70.0, 3)]]


def test_progress_starts_the_time_anew_however_far_behind_it_is() -> None:
    crawling = [{"events.llm/0": Standing(mark=n // 6, left=10**9)} for n in range(60)]
    assert looks(*crawling) == [[]] * 60


def test_nothing_to_do_is_not_stuck() -> None:
    assert looks(*[{"events.llm/0": Standing(mark=7, left=0)}] * 20) == [[]] * 20


def test_work_that_comes_after_a_silence_has_its_full_time() -> None:
    silent = {"events.llm/0": Standing(mark=7, left=0)}
    assert looks(*[silent] * 20, *[BEHIND] * 7)[-2:] == [[], [Stuck("events.llm/0", 60.0, 3)]]


def test_an_unknown_amount_of_work_counts_as_work() -> None:
    joining = {"rebalance": Standing(mark=(1, 1, 0), left=None)}
    assert looks(*[joining] * 7)[-1] == [Stuck("rebalance", 60.0, None)]


def test_a_recovery_that_reads_on_is_not_stuck_and_one_that_stops_is() -> None:
    reading = [{"rebalance": Standing(mark=n, left=n)} for n in range(100, 80, -1)]
    assert looks(*reading) == [[]] * 20
    assert looks(*reading, *[reading[-1]] * 6)[-1] == [Stuck("rebalance", 60.0, 81)]


def test_time_without_the_broker_does_not_count_and_is_no_excuse_after_it() -> None:
    verdicts = looks(*[BEHIND] * 4, *[None] * 50, *[BEHIND] * 3)
    assert verdicts[:-1] == [[]] * 56
    assert verdicts[-1] == [Stuck("events.llm/0", 60.0, 3)]


def test_a_stopped_process_that_goes_on_is_not_stuck_at_once() -> None:
    clock = Clock()
    liveness = Liveness(60.0, clock)
    liveness.look(BEHIND)
    clock.now += 3600
    assert liveness.look(BEHIND) == []


def test_a_partition_that_left_and_came_back_has_its_full_time() -> None:
    assert looks(*[BEHIND] * 6, {}, *[BEHIND] * 6) == [[]] * 13


def test_the_longest_stuck_comes_first_and_says_how_long_and_how_far() -> None:
    both = BEHIND | {"events.trade/1": Standing(mark=0, left=None)}
    found = looks(*[BEHIND] * 2, *[both] * 7)[-1]
    assert [str(one) for one in found] == [
        "events.llm/0 (no progress for 80 s, 3 messages behind)",
        "events.trade/1 (no progress for 60 s)",
    ]


def test_the_lines_of_a_recovery() -> None:
    clock = Clock()
    progress = Progress(100_000, clock)
    assert progress.begun() == "recovery: 100,000 offsets of state to read"
    assert progress.line(100_000).endswith("0/s, no estimate yet")
    clock.now += 4
    assert progress.line(60_000) == "recovery: 40,000 of 100,000 offsets, 10,000/s, 6 s to go"
    clock.now += 6.5
    assert progress.done() == "recovery: done, 100,000 offsets in 10.5 s"


@pytest.mark.parametrize("every", [0.5, 5.0])
def test_the_time_does_not_depend_on_how_often_one_looks(every: float) -> None:
    times = round(60 / every)
    assert looks(*[BEHIND] * (times + 1), every=every)[times - 1 :] == [
        [],
        [Stuck("events.llm/0", 60.0, 3)],
    ]
