"""Hopping windows, and rollups: when they are published, and that they stay exact."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.rows import START, call, measured
from tests.stages import Shown, Stage1, Stage2, counted

MINUTES = {"m": measured(windows=["10s", "1m"], rollups=["2m", "5m"], dimensions=[])}
LONG = ("2m", "5m")


def stages(metrics: dict[str, Any], grace: float = 0) -> tuple[Stage1, Stage2]:
    return Stage1(metrics, grace=grace), Stage2(metrics, grace=grace)


def after(source: Stage1, merge: Stage2, *times: float, **more: Any) -> list[Shown]:
    """Events in a batch of their own, a commit of both stages, and what was published."""
    source.feed(*(call(at, **more) for at in times))
    merge.take(source.commit())
    return merge.commit()


def test_hopping_windows_overlap() -> None:
    """0     10     20     30
    #      5           15
    [-20   10) [-10   20) [0     30) [10   40)
    """
    source, merge = stages({"m": measured(windows=["30s/10s"], dimensions=[])}, grace=3600)

    assert counted(after(source, merge, 5, 15)) == [
        ("30s/10s", -20, 1),
        ("30s/10s", -10, 2),
        ("30s/10s", 0, 2),
        ("30s/10s", 10, 1),
    ]


def test_each_hopping_window_closes_at_its_own_end() -> None:
    source, merge = stages({"m": measured(windows=["30s/10s"], dimensions=[])})

    found = after(source, merge, 5) + after(source, merge, 25)
    assert {each.start for each in found if each.row["final"]} == {-20, -10}

    found = after(source, merge, 31)
    assert {each.counted[1:] for each in found if each.row["final"]} == {(0, 2)}


def test_hopping_windows_stay_exact_when_their_panes_are_forgotten() -> None:
    source, merge = stages({"m": measured(windows=["40s/10s"], dimensions=[])})
    found: dict[float, int] = {}
    for at in range(0, 200, 7):
        shown = after(source, merge, at, duration=at)
        found |= {each.start: each.row["count"] for each in shown if each.row["final"]}

    assert found == {
        start: sum(start <= at < start + 40 for at in range(0, 200, 7))
        for start in range(-30, 160, 10)
    }


def test_rollups_are_published_when_a_minute_has_passed_not_before() -> None:
    source, merge = stages(MINUTES, grace=3600)
    # The first watermark begins a minute.
    assert {each.window for each in after(source, merge, 5)} >= set(LONG)
    assert {each.window for each in after(source, merge, 55)} & set(LONG) == set()

    found = after(source, merge, 61)
    assert {each.counted for each in found if each.window in LONG} == {("2m", 0, 3), ("5m", 0, 3)}
    assert not any(each.row["final"] for each in found if each.window in LONG)

    assert {each.window for each in after(source, merge, 70)} & set(LONG) == set()
    found = after(source, merge, 121)
    assert {each.brief for each in found if each.window in LONG} == {
        ("2m", 0, True, 0),
        ("2m", 120, False, 0),
        ("5m", 0, False, 0),
    }


def test_a_rollup_that_is_final_is_published_again_at_once() -> None:
    source, merge = stages(MINUTES, grace=3600)
    after(source, merge, 5, 121)

    assert ("2m", 0, True, 1) in {each.brief for each in after(source, merge, 6)}


def test_rollups_are_exact_though_their_panes_are_forgotten_one_by_one() -> None:
    """Two partitions, a commit after every few events; each rollup tells where it came from."""
    sources = [Stage1(MINUTES, number, grace=0) for number in range(2)]
    merge = Stage2(MINUTES, partitions=2, grace=0)
    draw = random.Random(4)
    final: dict[tuple[str, float], Shown] = {}
    taken: list[tuple[float, int, int, int]] = []
    for step in range(200):
        for number, source in enumerate(sources):
            rows = [call(4 * step + draw.random(), duration=draw.randrange(10**6)) for _ in "ab"]
            for row in rows:
                at = (row["time"] - START) / 1e6
                offset = source.state.last_offset + 1
                if source.feed(row) == ["taken"]:
                    taken.append((at, number, offset, row["duration"]))
            merge.take(source.commit())
        final |= {(each.window, each.start): each for each in merge.commit() if each.row["final"]}
        if step % 37 == 0:
            merge.crash()

    assert len(merge.state.metrics["m"][0].entries.slots()) < 20
    assert [key[1] for key in final if key[0] == "5m"] == [0, 300]
    for each in final.values():
        mine = [row for row in taken if each.start <= row[0] < each.end]
        assert each.row["count"] == len(mine)
        assert each.row["sum"] == pytest.approx(sum(row[3] for row in mine) / 1e6, rel=1e-15)
        assert sum(each.row["histogram"]["counts"]) + each.row["histogram"]["zero"] == len(mine)
        assert each.ranges() == {
            number: (
                min(row[2] for row in mine if row[1] == number),
                max(row[2] for row in mine if row[1] == number),
            )
            for number in range(2)
        }


def test_two_kinds_of_windows_with_equal_stretches_stay_exact() -> None:
    """40s and 40s/20s both have [0, 40)."""
    source, merge = stages(
        {"m": measured(windows=["40s", "40s/20s"], rollups=[], dimensions=[])}, grace=0
    )
    after(source, merge, 1, 25)

    found = {each.counted for each in after(source, merge, 70) if each.start == 0}

    assert found == {("40s", 0, 2), ("40s/20s", 0, 2)}
