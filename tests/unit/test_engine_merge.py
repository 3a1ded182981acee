"""Stage 2: finality, idle sources, revisions, and what is forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from nilo_stream_processors.engine.merge import Mark
from tests.rows import LLM, SECOND, START, Row, call, measured
from tests.stages import Stage1, Stage2, brief

METRICS = {"m": measured(windows=["10s", "1m"], rollups=[])}


def merged(
    *rows: Row, partitions: int = 1, idle: bool = False, **more: Any
) -> tuple[Stage1, Stage2]:
    """Rows of partition 0; the other partitions are idle from the beginning."""
    source = Stage1(METRICS, **more)
    source.feed(*rows)
    source.state.idle = idle
    merge = Stage2(METRICS, partitions=partitions)
    merge.take(source.commit())
    for number in range(1, partitions):
        other = Stage1(METRICS, number)
        other.state.idle = True
        merge.take(other.commit())
    return source, merge


def test_a_window_is_final_once_the_watermark_has_passed_its_end() -> None:
    _, merge = merged(call(5), call(15))

    assert brief(merge.publish()) == [
        ("10s", 0, True, 0),
        ("10s", 10, False, 0),
        ("1m", 0, False, 0),
    ]
    assert merge.publish() == []


def test_the_end_itself_is_passed() -> None:
    _, merge = merged(call(5), call(12), disorder=2)
    assert ("10s", 0, True, 0) in brief(merge.publish())

    _, merge = merged(call(5), call(11.999999), disorder=2)
    assert ("10s", 0, False, 0) in brief(merge.publish())


def test_nothing_is_final_before_every_partition_has_reported() -> None:
    _, merge = merged(call(5), call(15))
    merge.partitions = 2
    assert not any(final for *_, final, _ in brief(merge.publish()))

    other = Stage1(METRICS, 1)
    other.feed(call(11, "b"))
    merge.take(other.commit())

    assert [each for each in brief(merge.publish()) if each[2]] == [("10s", 0, True, 0)]


def test_the_slowest_partition_holds_the_watermark() -> None:
    _, merge = merged(call(5), call(500))
    merge.partitions = 2
    other = Stage1(METRICS, 1)
    other.feed(call(21))
    merge.take(other.commit())

    found = merge.publish()

    assert {each.start for each in found if each.row["final"]} == {0}
    marks = {each.row["watermark"].timestamp() - START / SECOND for each in found}
    assert marks == {10, 21}


def test_idle_partitions_hold_up_nobody_and_a_silent_stream_closes_all() -> None:
    _, merge = merged(call(5), call(15), partitions=3)
    assert ("10s", 0, True, 0) in brief(merge.publish())

    _, merge = merged(call(5), call(15), partitions=3, idle=True)
    assert all(final for *_, final, _ in brief(merge.publish()))


def test_silence_closes_what_was_open_and_says_it_once() -> None:
    source, merge = merged(call(5), call(15))
    merge.publish()
    source.state.idle = True
    merge.take(source.commit())

    assert brief(merge.publish()) == [("10s", 10, True, 0), ("1m", 0, True, 0)]
    assert merge.publish() == []


def test_new_events_of_an_idle_source_do_not_close_their_window_at_once() -> None:
    """The partials come before their mark, which still says idle."""
    source, merge = merged(call(5), idle=True)
    merge.publish()
    source.feed(call(75))
    partials, marks = source.commit()

    merge.take((partials, {}))
    assert ("10s", 70, False, 0) in brief(merge.publish())

    merge.take((partials, marks))
    assert merge.publish() == []


def test_a_mark_alone_wakes_an_idle_source_too() -> None:
    """No metric selects the event, which is therefore in no partial."""
    source, merge = merged(call(5), idle=True)
    merge.publish()
    source.feed(call(75, type="llm.stream"))
    merge.take(source.commit())

    assert merge.state.marks[LLM, 0] == Mark(START + 75 * SECOND, 1, idle=False)


def test_an_older_mark_changes_nothing() -> None:
    source, merge = merged(call(5), call(15))
    old = source.commit()
    source.feed(call(25))
    merge.take(source.commit())
    merge.take(old)

    assert merge.state.marks[LLM, 0].watermark == START + 25 * SECOND


def test_a_late_partial_raises_the_revision_of_a_final_window() -> None:
    source, merge = merged(call(5), call(15))
    merge.publish()

    for revision in (1, 2):
        source.feed(call(6))
        merge.take(source.commit())
        assert ("10s", 0, True, revision) in brief(merge.publish())


def test_several_partials_before_a_publication_are_one_revision() -> None:
    source, merge = merged(call(5), call(15))
    merge.publish()
    for at in (6, 7, 8):
        source.feed(call(at))
        merge.take(source.commit())

    found = {each.brief: each for each in merge.publish()}

    assert found["10s", 0, True, 1].row["count"] == 4


def test_the_newest_snapshot_of_a_source_counts_and_twice_is_once() -> None:
    source, merge = Stage1(METRICS), Stage2(METRICS)
    source.feed(call(5))
    old = source.commit()
    source.feed(call(6))
    new = source.commit()
    source.feed(call(7, "b"))
    merge.take(old, new, new, old, source.commit(), new)

    counts = {(each.window, each.labels): each.row["count"] for each in merge.publish()}

    assert counts == {("10s", ("a",)): 2, ("1m", ("a",)): 2, ("10s", ("b",)): 1, ("1m", ("b",)): 1}


def test_sources_say_which_offsets_a_window_is_made_of() -> None:
    sources = [Stage1(METRICS, number) for number in range(3)]
    sources[0].feed(call(1), call(12), call(3), call(4, "b"))
    sources[2].feed(call(61), call(2))
    merge = Stage2(METRICS, partitions=3)
    merge.take(*(source.commit() for source in sources))

    ranges = {(each.window, each.start, *each.labels): each.ranges() for each in merge.publish()}

    assert ranges == {
        ("10s", 0, "a"): {0: (0, 2), 2: (1, 1)},
        ("10s", 0, "b"): {0: (3, 3)},
        ("10s", 10, "a"): {0: (1, 1)},
        ("10s", 60, "a"): {2: (0, 0)},
        ("1m", 0, "a"): {0: (0, 2), 2: (1, 1)},
        ("1m", 0, "b"): {0: (3, 3)},
        ("1m", 60, "a"): {2: (0, 0)},
    }


def test_a_series_without_a_value_makes_no_window() -> None:
    source, merge = Stage1(METRICS), Stage2(METRICS)
    source.feed(call(5, "a"), call(5, "b", duration=None))
    merge.take(source.commit())

    assert {each.labels for each in merge.publish()} == {("a",)}


@pytest.mark.parametrize("label", ["", '"', "\\", "é\n", "a,b", "[1]", "\u2028", "x" * 1_000])
def test_labels_of_any_kind_reach_the_window(label: str) -> None:
    metrics = {"m": measured(dimensions=["provider", "model"])}
    source, merge = Stage1(metrics), Stage2(metrics)
    source.feed(call(5, label), call(5, "plain", provider=label))
    merge.take(source.commit())

    found = [tuple(each.row["dimensions"].items()) for each in merge.publish()]

    assert set(found) == {
        (("provider", "p"), ("model", label)),
        (("provider", label), ("model", "plain")),
    }


def forgotten() -> tuple[Stage1, Stage2]:
    """A partition at 500 whose windows before that are forgotten."""
    source, merge = merged(call(5), call(500), grace=0)
    merge.grace = 0
    merge.commit()
    return source, merge


def test_forgotten_windows_do_not_come_back() -> None:
    """A partition that was idle wakes with an event older than all that is known."""
    _, merge = forgotten()
    late = Stage1(METRICS, 1)
    late.feed(call(5, "b"))
    message = late.commit()

    merge.take(message)

    assert merge.publish() == []
    (refused,) = merge.state.refused
    assert (list(refused.series), list(refused.partition)) == (["b"], [1])


def test_what_was_counted_before_it_was_forgotten_is_not_refused() -> None:
    """A worker that begins anew sends its last partials once more."""
    source, merge = Stage1(METRICS, grace=0), Stage2(METRICS, grace=0)
    source.feed(call(5))
    again = source.commit()
    source.feed(call(500))
    merge.take(source.commit())
    merge.commit()

    merge.take(again)

    assert merge.publish() == []
    assert merge.state.refused == []


def test_silence_forgets_nothing() -> None:
    source, merge = merged(call(5), idle=True)
    merge.grace = 0
    merge.commit()
    source.feed(call(6))
    merge.take(source.commit())

    assert ("10s", 0, True, 1) in brief(merge.publish())
    assert merge.state.refused == []


def test_the_grace_is_waited_for() -> None:
    source, merge = merged(call(5), call(69.999999))
    merge.grace = 60 * SECOND
    merge.commit()
    source.feed(call(6))
    merge.take(source.commit())
    assert ("10s", 0, True, 1) in brief(merge.publish())

    source.feed(call(70))
    merge.take(source.commit())
    merge.commit()
    late = Stage1(METRICS, 1)
    late.feed(call(7))
    merge.take(late.commit())

    assert len(merge.state.refused) == 1


def test_metrics_that_the_catalogue_does_not_have_are_passed_over() -> None:
    source = Stage1({**METRICS, "gone": measured()})
    source.feed(call(5))
    merge = Stage2(METRICS)
    merge.take(source.commit())

    assert {each.metric for each in merge.publish()} == {"m"}


def test_a_worker_that_begins_anew_publishes_the_same_windows() -> None:
    rows = [call(at, model) for at in (5, 15, 62, 75, 131) for model in ("a", "b")]
    source, merge = merged(*rows[:6])
    published = merge.commit()
    merge.crash()
    assert merge.publish() == published
    assert merge.publish() == []
    source.feed(call(7), *rows[6:])
    merge.take(source.commit())

    found = {(*each.brief, *each.labels): each.row["count"] for each in merge.publish()}

    assert found["10s", 0, True, 1, "a"] == 2
    assert found["10s", 60, True, 0, "b"] == 1
    assert found["1m", 60, True, 0, "a"] == 2


def test_windows_stay_exact_when_the_catalogue_loses_its_finest_window() -> None:
    """Both stages begin anew with it; the last partials are sent once more."""
    source, merge = Stage1(METRICS), Stage2(METRICS)
    source.feed(call(5), call(15), call(25))
    merge.take(source.commit())
    merge.commit()
    source.metrics = merge.metrics = {"m": measured(windows=["1m"], rollups=[])}
    merge.crash()
    merge.take(*source.crash())
    source.feed(call(35))
    merge.take(source.commit())

    assert [each.counted for each in merge.publish()] == [("1m", 0, 4)]


def test_replaced_snapshots_leave_nothing_behind() -> None:
    """What is held is proportional to windows and series, not to the number of commits."""
    metrics = {"m": measured(windows=["1h"], rollups=[])}
    source, merge = Stage1(metrics), Stage2(metrics)
    held = []
    for number in range(300):
        source.feed(call(number % 60))
        merge.take(source.commit())
        merge.commit()
        held.append(len(merge.state.metrics["m"][0].entries))

    assert max(held[100:]) == max(held[:100])
