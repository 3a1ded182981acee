"""The consumer of alerts: loops, where a group begins, what it commits."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from nilo_consumers import AlertConsumer
from nilo_schemas.alerts import Alert, AlertState, Matcher, Silence
from nilo_schemas.settings import Settings
from tests.alerts import BEGUN, an_alert, publish, say
from tests.integration.alerting import committed, consumer, ids, life, take
from tests.integration.programs import wait_for
from tests.integration.sinking import produce
from tests.integration.windows import read_topic

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("alerts", "alerts.state", "alerts.silences"),
]


# Where a group begins


def test_a_group_begins_at_the_beginning_when_it_is_told_so(settings: Settings) -> None:
    alerts = life(2)
    publish(settings, alerts)
    with consumer(settings) as pager:
        assert take(pager, 2) == alerts


def test_a_group_begins_with_what_is_new_unless_it_is_told_otherwise(settings: Settings) -> None:
    old, new = life(2)
    publish(settings, [old])
    with (
        AlertConsumer("pager", settings=settings) as pager,
        ThreadPoolExecutor() as pool,
    ):
        first = pool.submit(next, pager)
        wait_for("the start", lambda: len(committed(settings)) == settings.partitions)
        publish(settings, [new])
        assert first.result(60) == new


def test_new_is_new_since_the_first_start_even_if_nothing_was_handled_then(
    settings: Settings,
) -> None:
    with AlertConsumer("pager", settings=settings) as pager, ThreadPoolExecutor() as pool:
        pool.submit(next, pager, None)
        wait_for("the start", lambda: len(committed(settings)) == settings.partitions)
        pager.stop()
    (missed,) = life(1)
    publish(settings, [missed])
    with AlertConsumer("pager", settings=settings) as pager:
        assert next(pager) == missed


def test_a_group_begins_at_a_time(settings: Settings) -> None:
    old, new = life(2)
    publish(settings, [old])
    messages = read_topic(settings, Alert.kafka_topic)
    after = datetime.fromtimestamp((messages[0].timestamp()[1] + 1) / 1000, UTC)
    wait_for("another millisecond", lambda: datetime.now(UTC) > after)
    publish(settings, [new])
    with consumer(settings, start=after) as pager:
        assert next(pager) == new


def test_a_group_goes_on_where_it_was_whatever_start_says(settings: Settings) -> None:
    alerts = life(3)
    publish(settings, alerts)
    with consumer(settings) as pager:
        assert take(pager, 2) == alerts[:2]
    with AlertConsumer("pager", settings=settings, start="new") as pager:
        assert take(pager, 2) == alerts[1:]


# What is committed


def test_an_alert_is_committed_when_the_next_one_is_asked_for(settings: Settings) -> None:
    publish(settings, life(3))
    with consumer(settings) as pager:
        take(pager, 3)
    assert sum(committed(settings).values()) == 2


def test_a_stop_ends_the_loop_and_commits_the_alert_in_hand(settings: Settings) -> None:
    alerts = life(3)
    publish(settings, alerts)
    handled = []
    with consumer(settings) as pager:
        for alert in pager:
            handled.append(alert)
            if len(handled) == 2:
                pager.stop()
        assert next(pager, None) is None
    assert handled == alerts[:2]
    assert sum(committed(settings).values()) == 2


def test_only_what_is_wanted_comes_and_the_rest_is_committed_too(settings: Settings) -> None:
    mine = an_alert(labels={"model": "atlas", "region": "eu"})
    others = [
        an_alert(severity="warning"),
        an_alert(rule="LlmCost"),
        an_alert(labels={"model": "nova", "region": "eu"}),
        an_alert(state=AlertState.PENDING, labels={"model": "atlas", "region": "us"}),
    ]
    publish(settings, [*others, mine])
    wanted = {"severity": "critical", "rule": ["LlmSlow"], "labels": {"model": "atlas"}}
    with consumer(settings, **wanted) as pager, ThreadPoolExecutor() as pool:
        assert next(pager) == mine
        second = pool.submit(next, pager, None)
        wait_for("all read", lambda: sum(committed(settings).values()) == 5)
        pager.stop()
        assert second.result(60) is None


def test_what_does_not_decode_is_a_dead_letter(settings: Settings) -> None:
    (alert,) = life(1)
    produce(settings, Alert.kafka_topic, [b"none"], key=alert.fingerprint, partition=0)
    publish(settings, [alert])
    with consumer(settings) as pager:
        assert next(pager) == alert
        wait_for("the dead letter", lambda: read_topic(settings, "dlq.alerts"))
    (letter,) = read_topic(settings, "dlq.alerts")
    headers = dict(letter.headers())
    assert letter.value() == b"none"
    assert headers["x-nilo-error-code"] == b"framing"
    assert headers["__connect.errors.connector.name"] == b"alerts-pager"


# async


def test_alerts_come_in_an_async_loop_and_a_cancelled_wait_loses_none(settings: Settings) -> None:
    alerts = life(2)

    async def handled() -> list[Alert]:
        found = []
        async with consumer(settings) as pager:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(pager), 0.01)
            await asyncio.to_thread(publish, settings, alerts)
            async for alert in pager:
                found.append(alert)
                if len(found) == 2:
                    pager.stop()
        return found

    assert asyncio.run(handled()) == alerts
    assert sum(committed(settings).values()) == 2


# Groups


def in_every_partition(settings: Settings) -> list[Alert]:
    """Alerts, published, of which each partition has some."""
    alerts = [an_alert(labels={"model": f"m{number}"}) for number in range(40)]
    publish(settings, alerts)
    assert {m.partition() for m in read_topic(settings, "alerts")} == set(
        range(settings.partitions)
    )
    return alerts


def test_a_member_that_handles_one_alert_for_long_stays_in_the_group(settings: Settings) -> None:
    """While it does, another one joins and is given its share; nothing is lost between them."""
    alerts = in_every_partition(settings)
    handled: set[str] = set()

    def collect(pager: AlertConsumer) -> None:
        handled.update(alert.id for alert in pager)

    with consumer(settings) as slow, consumer(settings) as other:
        handled.add(next(slow).id)
        handled |= set(ids(take(other, 5)))
        with ThreadPoolExecutor() as pool:
            for pager in (slow, other):
                pool.submit(collect, pager)
            wait_for("all", lambda: sum(committed(settings).values()) == len(alerts))
            slow.stop()
            other.stop()
    assert handled == set(ids(alerts))


def test_the_partitions_of_a_member_that_leaves_go_to_the_others(settings: Settings) -> None:
    alerts = in_every_partition(settings)
    with consumer(settings) as first:
        early = take(first, 10)
    with consumer(settings) as second:
        late = take(second, len(alerts) - 9)
    assert sorted(ids(early[:9] + late)) == sorted(ids(alerts))


def test_suppression_tells_what_people_say_of_an_alert_now(settings: Settings) -> None:
    alert = an_alert()
    publish(settings, [alert])
    with consumer(settings) as pager:
        assert not pager.suppression(next(pager)).quiet
        matchers = [Matcher(name="model", value="atlas")]
        muted = Silence(starts_at=BEGUN, created_by="eve", matchers=matchers)
        say(settings, muted)
        assert pager.suppression(alert).silenced_by == (muted.id,)
