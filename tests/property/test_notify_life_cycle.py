"""Whatever happens to alerts, the process and the receiver: nothing twice at once, nothing lost."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from nilo_consumers.alerts.notify.notification import UNSURE, Notification, Outcome
from tests.timelines import Line

INTERVAL = 120  # seconds; longer than a sending of unknown end may still arrive
assert UNSURE.seconds < INTERVAL
NAMES = st.sampled_from(["a", "ab", "abc", "b"])
LETTERS = st.sampled_from(["F", "F", "R", "N", "P", "I", "Fs", "Rs", "Fa", "Ra", "Fh"])
CHANGES = st.one_of(
    st.tuples(NAMES, LETTERS).map("=".join),
    st.just("restart"),
    st.sampled_from(["!sent", "!failed", "!refused", "!uncertain"]),
)
EVENTS = st.lists(st.tuples(st.integers(0, 240), CHANGES), max_size=25)


class Person:
    """Who is told: what they believe, and whether they were ever told too soon or of nothing.

    Of sendings of unknown end every other one arrives.
    """

    def __init__(self, line: Line) -> None:
        self.line, self.believes = line, dict[str, str]()
        self.last: dict[str, int] = {}
        self.unknown = 0
        line.on_sending = self.told

    def told(self, told: Notification, outcome: Outcome) -> None:
        if outcome in {Outcome.FAILED, Outcome.REFUSED}:
            return
        for group in map(str, told.groups):
            assert self.line.now - self.last.get(group, -INTERVAL) >= INTERVAL
            self.last[group] = self.line.now
        self.unknown += outcome is Outcome.UNCERTAIN
        if outcome is Outcome.UNCERTAIN and self.unknown % 2 == 0:
            return
        for alert in told.firing:
            self.believes[alert.labels["name"]] = alert.state.value
        for alert in told.resolved:
            self.believes.pop(alert.labels["name"], None)


@given(EVENTS, st.integers(2, 4))
@example([(0, "a=F"), (1, "!uncertain"), (20, "a=R")], 2)
@example([(0, "a=F"), (0, "b=F"), (0, "!refused"), (30, "!sent"), (31, "restart")], 2)
def test_in_the_end_people_know_what_is_so_and_were_told_once_in_an_interval(
    events: list[tuple[int, str]], limit: int
) -> None:
    line = Line(
        group_interval=f"{INTERVAL}s", repeat_interval="1h", group_wait="10s", rate_limit=limit
    )
    person = Person(line)
    drawn = [f"{5 * moment}s {change}" for moment, change in sorted(events, key=lambda e: e[0])]
    line.run([*drawn, "1205s !sent"], "45m")

    for name, standing in line.standings.items():
        if standing.shown:
            assert person.believes.get(name) == standing.alert.state.value
        elif standing.over:
            assert name not in person.believes


@given(EVENTS)
def test_nobody_is_told_of_the_end_of_what_they_were_not_told_of(
    events: list[tuple[int, str]],
) -> None:
    line, heard = Line(group_interval=f"{INTERVAL}s", group_wait="10s"), set[str]()

    def told(told: Notification, outcome: Outcome) -> None:
        assert {alert.labels["name"] for alert in told.resolved} <= heard
        if outcome in {Outcome.SENT, Outcome.UNCERTAIN}:
            heard.update(alert.labels["name"] for alert in told.firing)
        if outcome is Outcome.SENT:
            heard.difference_update(alert.labels["name"] for alert in told.resolved)

    line.on_sending = told
    line.run([f"{5 * n}s {change}" for n, change in sorted(events, key=lambda e: e[0])], "30m")
