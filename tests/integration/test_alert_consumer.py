"""The consumer of alerts: loops, callbacks, where it begins, what it commits."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from nilo_consumers import AlertConsumer
from nilo_consumers.alerts import calls
from nilo_consumers.alerts.reader import group_of
from nilo_schemas.alerts import Alert, AlertState, Matcher, Silence
from nilo_schemas.clients import kafka_config
from nilo_schemas.settings import Settings
from tests.alerts import BEGUN, an_alert, publish, say
from tests.integration.programs import running, wait_for
from tests.integration.sinking import produce
from tests.integration.windows import read_topic

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "FIRST_WAIT", 0.01)


def consumer(settings: Settings, **more: Any) -> AlertConsumer:
    usual: dict[str, Any] = {"start": "beginning"}
    return AlertConsumer("pager", settings=settings, **usual | more)


def life(count: int, model: str = "atlas") -> list[Alert]:
    """So many transitions of one alert, which lie in one partition."""
    return [an_alert(revision=number, labels={"model": model}) for number in range(count)]


def committed(settings: Settings, group: str = "pager") -> dict[int, int]:
    """The offsets that the group has committed, by partition."""
    config = kafka_config(settings, group_id=group_of(settings, group))
    asker = Consumer(config | {"log_level": 0})
    topic = settings.topic_prefix + Alert.kafka_topic
    places = [TopicPartition(topic, number) for number in range(settings.partitions)]
    found = {each.partition: each.offset for each in asker.committed(places, timeout=10)}
    asker.close()
    return {partition: offset for partition, offset in found.items() if offset >= 0}


def take(alerts: Iterator[Alert], count: int) -> list[Alert]:
    return [next(alerts) for _ in range(count)]


@contextmanager
def calling(consumer: AlertConsumer, **more: Any) -> Iterator[threading.Thread]:
    """Run the callbacks of a consumer while the block runs."""
    stop = threading.Event()
    thread = threading.Thread(target=consumer.run, args=(stop,), kwargs=more)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def ids(alerts: Iterable[Alert]) -> list[str]:
    return [alert.id for alert in alerts]


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


# Callbacks


def test_callbacks_are_called_with_what_they_want(settings: Settings) -> None:
    slow, dear = an_alert(), an_alert(rule="LlmCost", severity="warning")
    pager = consumer(settings)
    paged, noted = [], []

    @pager.on(severity="critical", rule="LlmSlow")
    def page(alert: Alert) -> None:
        paged.append(alert)

    @pager.on()
    async def note(alert: Alert) -> None:
        await asyncio.sleep(0)
        noted.append(alert)

    publish(settings, [slow, dear])
    with calling(pager):
        wait_for("all committed", lambda: sum(committed(settings).values()) == 2)
    assert paged == [slow]
    assert sorted(ids(noted)) == sorted([slow.id, dear.id])


def test_a_callback_that_raises_is_called_again(settings: Settings) -> None:
    publish(settings, life(1))
    pager = consumer(settings)
    tries: list[Alert] = []
    others: list[Alert] = []

    @pager.on()
    def page(alert: Alert) -> None:
        tries.append(alert)
        if len(tries) < 3:
            raise ConnectionError("the pager is busy")

    pager.on()(others.append)
    with calling(pager):
        wait_for("the commit", lambda: sum(committed(settings).values()) == 1)
    assert (len(tries), len(others)) == (3, 1)
    assert read_topic(settings, "dlq.alerts") == []


def test_an_alert_that_fails_at_every_try_is_a_dead_letter_and_the_next_one_comes(
    settings: Settings,
) -> None:
    bad, good = life(2)
    publish(settings, [bad, good])
    pager = consumer(settings)
    tries = []

    @pager.on()
    async def page(alert: Alert) -> None:
        tries.append(alert)
        if alert == bad:
            raise ValueError("no such number")

    with calling(pager, attempts=3):
        wait_for("both", lambda: sum(committed(settings).values()) == 2)
    assert ids(tries) == ids([bad, bad, bad, good])
    (letter,) = read_topic(settings, "dlq.alerts")
    (origin,) = [m for m in read_topic(settings, "alerts") if m.value() == letter.value()]
    headers = dict(letter.headers())
    assert letter.key() == bad.fingerprint.encode()
    assert headers["x-nilo-error-code"] == b"failed"
    assert headers["__connect.errors.exception.message"] == b"page: ValueError: no such number"
    assert headers["__connect.errors.stage"] == b"TASK_PUT"
    assert headers["__connect.errors.topic"] == origin.topic().encode()
    assert headers["__connect.errors.partition"] == str(origin.partition()).encode()
    assert headers["__connect.errors.offset"] == str(origin.offset()).encode()


def test_a_stop_between_two_tries_leaves_the_alert_for_the_next_start(settings: Settings) -> None:
    publish(settings, life(1))
    pager = consumer(settings)
    called = threading.Event()

    @pager.on()
    def page(alert: Alert) -> None:
        called.set()
        raise ConnectionError("the pager is busy")

    with calling(pager, attempts=1_000, longest_wait=0.01):
        assert called.wait(60)
    assert sum(committed(settings).values()) == 0
    assert read_topic(settings, "dlq.alerts") == []


def test_sigterm_ends_a_program_of_callbacks_in_good_order(
    settings: Settings, tmp_path: Path
) -> None:
    publish(settings, life(1))
    with running(settings, log=tmp_path / "log", module="tests.integration.alert_pager") as program:
        wait_for("the commit", lambda: sum(committed(settings).values()) == 1)
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0
    assert (tmp_path / "log").read_text() == "p95 of llm.duration is 6.5 seconds, above 5\n"


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
