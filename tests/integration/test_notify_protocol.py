"""Notifiers killed and stopped at every step: how often the receiver is told."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from nilo_consumers.alerts.notify import groups
from nilo_schemas.settings import Settings
from tests.alerts import publish
from tests.integration.hook import Hook, hook
from tests.integration.notifying import (
    AT_ONCE,
    Running,
    an_alert_now,
    notified,
    notifying,
    with_receivers,
)
from tests.integration.programs import free_port, healthy, running, wait_for

pytestmark = pytest.mark.integration
ODD = "tests.integration.odd_notifier"
SLOW = "firing Slow:firing"
FENCED = "another process notifies now"


@pytest.fixture
def server() -> Iterator[Hook]:
    with hook() as server:
        yield server


def to(server: Hook, settings: Settings, folder: Path, **more: str) -> Settings:
    receiver = {"name": "r", "webhook": server.url, **AT_ONCE, **more}
    return with_receivers(settings, folder, receiver)


def told(server: Hook, settings: Settings, rule: str) -> None:
    """Publish an alert and wait until it is noted as told; all that was due before is told too."""
    publish(settings, [an_alert_now(rule)])
    key = f'r:{{alertname="{rule}"}}'
    wait_for(rule, lambda: phases(settings).get(key) == "sent")
    assert server.drawn().count(f"firing {rule}:firing") == 1


def phases(settings: Settings) -> dict[str, str]:
    return {key: note.phase for key, note in notified(settings).items()}


def active(notifier: Running) -> None:
    wait_for("taking over", lambda: notifier.value("nilo_notifier_active"))


@pytest.mark.parametrize(
    "killed_at",
    [
        # how often it was told: when killed, within the group interval, and after it
        ("noting", 0, 1, 1),
        ("noted", 0, 0, 1),
        ("sent", 1, 1, 2),
        ("settling", 1, 1, 2),
        ("settled", 1, 1, 1),
    ],
)
def test_killed_at_any_step_it_tells_nothing_twice_within_the_interval_and_loses_nothing(
    server: Hook, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    killed_at: tuple[str, int, int, int],
) -> None:  # fmt: skip
    moment, before, within, after = killed_at
    mine, log = to(server, settings, tmp_path), tmp_path / "log"
    publish(mine, [an_alert_now()])
    with running(mine, moment, "SIGKILL", "sink", "notify", log=log, module=ODD) as killed:
        assert killed.wait(60) == -signal.SIGKILL
    assert server.drawn().count(SLOW) == before

    with notifying(mine) as notifier:
        active(notifier)
        told(server, mine, "Marker")
        assert server.drawn().count(SLOW) == within
        assert notifier.ended("uncertain") == (1 if moment in {"noted", "sent", "settling"} else 0)

    # The interval is over for those who take it to be none.
    monkeypatch.setattr(groups, "UNSURE", timedelta(0))
    mine = to(server, settings, tmp_path, group_interval="1s")
    with notifying(mine) as notifier:
        active(notifier)
        wait_for("the end of it", lambda: set(phases(mine).values()) == {"sent"})
        told(server, mine, "Last")
    assert server.drawn().count(SLOW) == after
    assert len({got.headers["Idempotency-Key"] for got in server.got if got.drawn == SLOW}) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_notifies_and_the_other_takes_over_when_it_ends(
    server: Hook, settings: Settings, tmp_path: Path, number: signal.Signals
) -> None:
    mine, port = to(server, settings, tmp_path), free_port()
    words = ["sink", "notify", "--metrics-port", port]
    with running(mine, *words, log=tmp_path / "log") as first:
        wait_for("the first", lambda: healthy(port))
        told(server, mine, "Before")
        with notifying(mine) as second:
            assert second.value("nilo_notifier_active") == 0
            told(server, mine, "Meanwhile")
            first.send_signal(number)
            active(second)
            told(server, mine, "After")
            wait_for("the count", lambda: second.ended("sent") == 1)
    assert sorted(server.drawn()) == sorted(
        f"firing {rule}:firing" for rule in ("Before", "Meanwhile", "After")
    )


def test_a_clean_stop_waits_for_what_is_under_way_and_notes_its_end(
    server: Hook, settings: Settings, tmp_path: Path
) -> None:
    mine = to(server, settings, tmp_path)
    publish(mine, [an_alert_now()])
    server.open.clear()
    with notifying(mine) as notifier:
        wait_for("the alert", lambda: server.got)
        notifier.stop.set()
        notifier.thread.join(1)
        assert notifier.thread.is_alive()
        server.open.set()
    assert set(phases(mine).values()) == {"sent"}


@pytest.mark.parametrize("moment", ["noting", "noted"])
def test_one_that_was_stopped_and_comes_back_tells_nothing_that_the_other_has_told(
    server: Hook, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setattr(groups, "UNSURE", timedelta(0))
    mine, port = to(server, settings, tmp_path, group_interval="1s"), free_port()
    log, words = tmp_path / "log", [moment, "SIGSTOP", "sink", "notify", "--metrics-port", port]
    publish(mine, [an_alert_now()])
    with running(mine, *words, log=log, module=ODD) as first:
        process = psutil.Process(first.pid)
        wait_for("its stop", lambda: process.status() == psutil.STATUS_STOPPED)
        with notifying(mine) as second:
            active(second)
            told(server, mine, "Meanwhile")
            first.send_signal(signal.SIGCONT)
            wait_for("its standing by", lambda: healthy(port))
            if moment == "noting":  # it came back in the middle of a write
                assert FENCED in log.read_text()
            told(server, mine, "After")
            wait_for("the end of it", lambda: set(phases(mine).values()) == {"sent"})
    assert sorted(server.drawn()) == ["firing After:firing", "firing Meanwhile:firing", SLOW]
