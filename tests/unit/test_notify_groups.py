"""What a receiver is told and when, drawn as timelines: what happens to alerts, what is sent."""

from __future__ import annotations

from typing import Any

import pytest

from nilo_consumers.alerts.notify.notification import UNSURE
from tests.timelines import Line


@pytest.mark.parametrize(
    ("events", "until", "sent"),
    [
        # told once, after group_wait, and again only after repeat_interval
        (["0s a=F"], "3h", ["0m30 a:F"]),
        (["0s a=F"], "5h", ["0m30 a:F", "240m30 a:F"]),
        # pending is told to nobody, and what was pending only neither
        (["0s a=P", "1m a=I"], "1h", []),
        # what comes within group_wait is one notification; later news waits for group_interval
        (["0s a=F", "20s ab=F"], "1h", ["0m30 a:F ab:F"]),
        (["0s a=F", "1m ab=F"], "1h", ["0m30 a:F", "5m30 a:F ab:F"]),
        # after a quiet time news waits for group_wait alone
        (["0s a=F", "20m ab=F"], "1h", ["0m30 a:F", "20m30 a:F ab:F"]),
        # other rules are other groups
        (["0s a=F b=F"], "1h", ["0m30 a:F", "0m30 b:F"]),
        # resolved is told once, and only of what was told
        (["0s a=F", "2m a=R"], "9h", ["0m30 a:F", "5m30 a:R"]),
        (["0s a=F", "20s a=R"], "9h", []),
        (["0s a=F", "2m a=R", "3m a=P", "6m a=I"], "1h", ["0m30 a:F", "6m30 a:I"]),
        (["0s a=F ab=F", "2m ab=R"], "3h", ["0m30 a:F ab:F", "5m30 a:F ab:R"]),
        # a series falls silent, and comes back
        (["0s a=F", "10m a=N", "30m a=F", "50m a=R"], "1h",
         ["0m30 a:F", "10m30 a:N", "30m30 a:F", "50m30 a:R"]),
        # a storm of flaps within the interval is nothing new at its end
        (["0s a=F", *(f"{n}s a={'RF'[n % 2]}" for n in range(40, 160))], "20m", ["0m30 a:F"]),
        # one that goes on is one notification in each interval at most
        (["0s a=F", "1m a=R", "6m a=F", "7m a=R", "12m a=F"], "18m",
         ["0m30 a:F", "5m30 a:R", "12m30 a:F"]),
        # silenced, explained by another, acknowledged: left out until that is over
        (["0s a=Fs", "10m a=F"], "1h", ["10m30 a:F"]),
        (["0s a=Fh", "10m a=R"], "1h", []),
        (["0s a=Fa ab=F"], "1h", ["0m30 ab:F"]),
        # silenced after it was told: no repeat; its end is told when the silence is over
        (["0s a=F", "1h a=Fs", "6h a=Rs", "7h a=R"], "9h", ["0m30 a:F", "420m30 a:R"]),
        (["0s a=F", "1h a=Fs", "2h a=F"], "3h", ["0m30 a:F"]),
        # acknowledged after it was told: no repeat, but its end is told at once
        (["0s a=F", "1h a=Fa", "6h a=Ra"], "9h", ["0m30 a:F", "360m30 a:R"]),
        # taken off the board: nothing more is said, and a new one is news
        (["0s a=F", "10m a=-", "20m a=F"], "1h", ["0m30 a:F", "20m30 a:F"]),
    ],
)  # fmt: skip
def test_alertmanagers_waits_make_these_notifications(
    events: list[str], until: str, sent: list[str]
) -> None:
    assert Line().run(events, until) == sent


@pytest.mark.parametrize(
    ("receiver", "events", "sent"),
    [
        ({"send_resolved": False}, ["0s a=F", "10m a=R", "20m a=F"], ["0m30 a:F", "20m30 a:F"]),
        ({"group_by": ["..."]}, ["0s a=F ab=F"], ["0m30 a:F", "0m30 ab:F"]),
        ({"group_by": []}, ["0s a=F b=F"], ["0m30 a:F b:F"]),
        ({"group_wait": "0s", "group_interval": "1m"}, ["0s a=F", "5s a=R"],
         ["0m00 a:F", "1m00 a:R"]),
        ({"repeat_interval": "10m"}, ["0s a=F"], ["0m30 a:F", "10m30 a:F", "20m30 a:F"]),
        ({"severities": ["info"]}, ["0s a=F"], []),
        ({"matchers": ['name=~"a.*"', "name!=ab"]}, ["0s a=F ab=F b=F"], ["0m30 a:F"]),
    ],
)  # fmt: skip
def test_a_receiver_chooses_alerts_groups_and_waits(
    receiver: dict[str, Any], events: list[str], sent: list[str]
) -> None:
    assert Line(**receiver).run(events, "25m") == sent


def test_too_many_groups_in_a_minute_become_one_summary_and_none_is_lost() -> None:
    line = Line(rate_limit=3)
    names = "abcdefgh"
    assert line.run([f"0s {' '.join(f'{name}=F' for name in names)}"], "3h") == [
        "0m30 a:F", "0m30 b:F", "0m30 c:F d:F e:F f:F g:F h:F (6 groups)",
    ]  # fmt: skip
    assert len(line.topic) == len(names)
    # Groups that come within the minute wait for its end, and are not folded where they need not.
    assert line.run(["3h10m i=F", "3h10m5s j=F k=F l=F"], "3h30m") == [
        "190m30 i:F", "190m35 j:F", "190m35 k:F l:F (2 groups)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "until", "sent"),
    [
        # in each state of an alert: waiting, told, over and not told yet, over and told
        (["0s a=F", "10s restart"], "1h", ["0m40 a:F"]),
        (["0s a=F", "31s restart", "4m restart"], "3h", ["0m30 a:F"]),
        (["0s a=F", "2m a=R", "3m restart"], "3h", ["0m30 a:F", "5m30 a:R"]),
        (["0s a=F", "2m a=R", "6m restart", "7m restart"], "3h", ["0m30 a:F", "5m30 a:R"]),
        (["0s a=F", "5m restart", "3h restart"], "5h", ["0m30 a:F", "240m30 a:F"]),
        # silenced, acknowledged
        (["0s a=F", "1m a=Fs", "2m restart", "3m a=Rs", "1h restart a=R"], "2h",
         ["0m30 a:F", "60m30 a:R"]),
        # a flap that a restart falls into
        (["0s a=F", "1m a=R", "2m restart a=F"], "1h", ["0m30 a:F"]),
    ],
)  # fmt: skip
def test_a_restart_makes_no_notification_and_loses_none(
    events: list[str], until: str, sent: list[str]
) -> None:
    assert Line().run(events, until) == sent


def test_a_sending_of_unknown_end_is_not_repeated_within_its_interval_and_is_afterwards() -> None:
    line = Line()
    assert line.run(["0s a=F !uncertain", "1m restart", "2m restart !sent"], "20m") == [
        "0m30 a:F", "5m30 a:F",
    ]  # fmt: skip
    assert line.ids[0] == line.ids[1]
    assert [note.phase for note in line.topic.values()] == ["sent"]


def test_a_resolution_of_unknown_end_is_told_again_and_what_was_perhaps_told_is_resolved() -> None:
    line = Line()
    sent = line.run(["0s a=F", "10m a=R !uncertain", "11m restart !sent"], "1h")
    assert sent == ["0m30 a:F", "10m30 a:R", "15m30 a:R"]
    line = Line()
    assert line.run(["0s a=F !uncertain", "1m a=R !sent"], "1h") == ["0m30 a:F", "5m30 a:R"]


def test_an_unknown_end_counts_as_sent_for_as_long_as_it_may_still_arrive() -> None:
    line = Line(group_wait="0s", group_interval="1s")
    assert line.run(["0s a=F !uncertain", "1s !sent restart"], "10m") == [
        "0m00 a:F", f"{UNSURE.seconds // 60}m{UNSURE.seconds % 60:02} a:F",
    ]  # fmt: skip


def test_what_failed_is_due_again_with_what_is_new_by_then() -> None:
    line = Line()
    line.run(["0s a=F !failed"], "30s")
    assert line.topic == {}
    assert line.run(["31s ab=F !sent"], "20m") == ["0m31 a:F ab:F"]
    assert line.sent[0] == "0m30 a:F"


def test_what_is_refused_is_tried_again_after_the_interval_and_holds_up_no_other_group() -> None:
    line = Line()
    line.run(["0s a=F !refused"], "30s")
    assert line.run(["31s b=F !sent"], "20m") == ["1m01 b:F", "5m30 a:F"]


def test_a_group_that_is_over_leaves_nothing_behind() -> None:
    line = Line()
    line.run(["0s a=F", "2m a=R"], "10m29s")
    assert len(line.topic) == 1
    line.run([], "10m30s")
    assert line.topic == {}


def test_each_notification_has_an_id_of_its_own_and_its_repeat_as_well() -> None:
    line = Line(repeat_interval="10m")
    line.run(["0s a=F b=F", "15m a=R"], "40m")
    assert len(set(line.ids)) == len(line.ids) == 7


def test_an_alert_held_back_is_counted_once_for_each_episode() -> None:
    line = Line()
    line.run(["0s a=Fs b=Fh", "1m a=Ra", "2m restart"], "5m")
    assert line.groups.suppressed == 1  # counted by each process
    line = Line()
    line.run(["0s a=Fs b=Fh ab=F", "1m a=Fs"], "5m")
    assert line.groups.suppressed == 2
