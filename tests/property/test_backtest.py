"""A backtest against references written the dumb way: all minutes, everything with everything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from nilo_cli.backtest.figures import Range, figures
from nilo_cli.backtest.incidents import Incident
from nilo_cli.backtest.run import Backtest
from nilo_cli.backtest.score import scored
from nilo_cli.rerun.episodes import Episode
from tests.property.test_detection import MEANS, MINUTES, MODELS, reference, windows_of
from tests.window_tables import window_table
from tests.windows_of import MINUTE, START, catalogue, microseconds

SLOW = {"name": "Slow", "when": "mean > 2s", "clear": "mean < 1s", "for": "2 windows"}
EARLY = {"name": "Slow", "when": "mean > 1s"}
_MINUTE, _BEGIN = 60_000_000, microseconds(START)


def dumb_episodes(said: Sequence[tuple[float, str]], last: int) -> list[tuple[int, int]]:
    """From the minute of the first firing to that of the end, of the transitions of one series."""
    found, begun = [], 0
    for minute, state in said:
        if state == "firing" and not begun:
            begun = round(minute)
        if state == "resolved":
            found.append((begun, round(minute)))
            begun = 0
    return [*found, (begun, last)] if begun else found


@given(MEANS, st.sets(st.integers(1, MINUTES - 1), max_size=5), st.integers(0, MINUTES))
@settings(max_examples=60)
def test_slices_and_other_versions_at_its_side_change_no_episode(
    means: list[tuple[float | None, ...]], cuts: set[int], warm_up: int
) -> None:
    rules = [catalogue(each).rules["Slow"] for each in (SLOW, EARLY)]
    test = Backtest(catalogue(SLOW), rules, _BEGIN + warm_up * _MINUTE, 1000, 1)
    windows = windows_of(means)
    edges = [_BEGIN + cut * _MINUTE for cut in (0, *sorted(cuts), MINUTES)]
    for first, until in pairwise(edges):
        mine = [each for each in windows if first < microseconds(each.window_end) <= until]
        test.take(window_table(mine, first=first), until)
    test.finish()

    last = max((place for place, row in enumerate(means, 1) if any(row)), default=0)
    version = test.versions[rules[0].hash]
    for place, model in enumerate(MODELS):
        found = [
            (each.fired, each.end)
            for each in version.episodes.found
            if json.loads(each.series) == {"model": model}
        ]
        said = [each for each in reference([row[place] for row in means]) if each[0] <= last]
        assert found == [
            (_BEGIN + begin * _MINUTE, _BEGIN + end * _MINUTE)
            for begin, end in dumb_episodes(said, last)
        ]
    begin = START + warm_up * MINUTE
    assert version.seen.windows == sum(each.window_end > begin for each in windows)


def episodes_of(told: Sequence[tuple[str, int, int, int]]) -> list[Episode]:
    """Episodes one after another in each series, as the life of an alert has them."""
    found, free = [], dict[str, int]()
    for model, pause, pending, length in told:
        since = free.get(model, 0) + pause
        free[model] = since + pending + length + 1
        series = json.dumps({"model": model})
        found.append(Episode(series, since, since + pending, since + pending + length))
    return found


EPISODES = st.lists(
    st.tuples(st.sampled_from(MODELS), st.integers(0, 30), st.integers(1, 3), st.integers(0, 20)),
    max_size=12,
).map(episodes_of)
INCIDENTS = st.lists(
    st.tuples(
        st.integers(0, 120),
        st.integers(0, 30),
        st.sampled_from([{}, {"model": "a"}, {"model": "b"}, {"model": "none"}, {"region": "eu"}]),
    ),
    max_size=6,
).map(
    lambda told: [
        Incident(line, start, start + length, labels)
        for line, (start, length, labels) in enumerate(told, 2)
    ]
)
# The first minute that counts, how much later the first window begins, how long there are windows.
RANGES = st.tuples(st.integers(1, 40), st.integers(0, 10), st.integers(1, 100)).map(
    lambda told: Range(told[0], told[0] + told[1], told[0] + told[1] + told[2])
)


@given(EPISODES, INCIDENTS, RANGES, st.integers(0, 10))
@settings(max_examples=300)
def test_incidents_are_found_and_alarms_false_as_the_reference_says(
    episodes: list[Episode], incidents: list[Incident], within: Range, slack: int
) -> None:
    score = scored(episodes, incidents, within, slack)

    def meet(one: Episode, other: Incident) -> bool:
        model = json.loads(one.series)["model"]
        near = set(range(other.start - slack, other.end + slack + 1))
        together = set(range(one.since, one.end)) & near
        return bool(together) and other.labels.get("model", model) == model

    counted = [each for each in incidents if within.first <= each.start < within.last]
    met = {each.line: [one.fired for one in episodes if meet(one, each)] for each in counted}
    fired = [each for each in episodes if each.fired > within.since]
    true = [each for each in fired if any(meet(each, other) for other in incidents)]
    delays = sorted(max(0, min(met[each.line]) - each.start) for each in counted if met[each.line])
    assert score.delays == delays
    assert score.missed == [each.line for each in counted if not met[each.line]]
    assert score.outside == len(incidents) - len(counted)
    assert (score.true, score.episodes) == (len(true), len(fired))
    assert score.recall == (len(delays) / len(counted) if counted else None)
    assert score.precision == (len(true) / len(fired) if fired else None)
    for share in (0.5, 0.9, 1.0):
        within_share = [
            each for each in delays if sum(d <= each for d in delays) >= share * len(delays)
        ]
        assert score.delay(share) == min(within_share, default=None)


@given(EPISODES, RANGES, st.integers(1, 3))
@settings(max_examples=200)
def test_figures_are_as_the_reference_says(
    episodes: list[Episode], within: Range, hop: int
) -> None:
    found = figures(episodes, within, hop)

    fired = [each for each in episodes if each.fired > within.since]
    firing = [
        (each.series, minute)
        for each in episodes
        for minute in range(each.fired, each.end)
        if minute >= within.since
    ]
    before = [
        [
            other.fired
            for other in episodes
            if (other.series == each.series and other.fired < each.fired)
        ]
        for each in fired
    ]
    again = [
        1
        for each, times in zip(fired, before, strict=True)
        if times and each.fired - max(times) < 30 * hop
    ]
    assert (found.firings, found.flaps) == (len(fired), len(again))
    assert found.time == len(firing)
    assert found.longest == max((each.end - each.fired for each in fired), default=0)
    counts = {each.series: sum(one.series == each.series for one in fired) for each in fired}
    assert {each.series: each.firings for each in found.noisiest} == counts
    assert [each.firings for each in found.noisiest] == sorted(counts.values(), reverse=True)
