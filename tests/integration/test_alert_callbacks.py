"""Callbacks of an alert consumer: who is called, tried again, given up."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nilo_consumers import AlertConsumer
from nilo_consumers.alerts import calls
from nilo_schemas.alerts import Alert
from nilo_schemas.settings import Settings
from tests.alerts import an_alert, publish
from tests.integration.alerting import committed, consumer, ids, life
from tests.integration.programs import running, wait_for
from tests.integration.windows import read_topic

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("alerts", "alerts.state", "alerts.silences"),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "FIRST_WAIT", 0.01)


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
