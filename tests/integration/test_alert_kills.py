"""An AlertConsumer that is killed at random moments: no alert is lost, and none counts twice.

Ten times; NILO_TEST_ALERT_KILLS=50 asks for more.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sqlite3
from contextlib import closing
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from nilo_schemas.settings import Settings
from tests.alerts import an_alert, publish
from tests.integration.alert_keeper import keep
from tests.integration.programs import wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("alerts", "alerts.state", "alerts.silences"),
]
KILLS = int(os.environ.get("NILO_TEST_ALERT_KILLS", "10"))
ALERTS = 40  # before each kill
LONGEST = 0.3  # seconds that a start lives beyond its first alert


def handled(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as store:
        return [row[0] for row in store.execute("SELECT id FROM handled")]


def start(settings: Settings, file: Path) -> tuple[ForkServerProcess, Any]:
    # A fork of a process that has imported everything: a start costs no seconds for that.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([keep.__module__])
    started = context.Event()
    process = context.Process(target=keep, args=(settings, file, started), daemon=True)
    process.start()
    return process, started


def test_a_killed_consumer_handles_every_alert_and_by_its_id_once(
    settings: Settings, tmp_path: Path
) -> None:
    seed, file = random.randrange(10**6), tmp_path / "handled.db"
    moments, wanted = random.Random(seed), set()
    for life in range(KILLS):
        alerts = [an_alert(revision=life * ALERTS + n, labels={"n": str(n)}) for n in range(ALERTS)]
        wanted |= {alert.id for alert in alerts}
        publish(settings, alerts)
        process, started = start(settings, file)
        assert started.wait(60), f"seed {seed}, life {life}"
        process.join(moments.uniform(0, LONGEST))
        assert process.is_alive(), f"seed {seed}, life {life}"
        process.kill()
        process.join(60)

    process, _ = start(settings, file)
    wait_for(f"all, seed {seed}", lambda: len(handled(file)) >= len(wanted))
    process.kill()
    process.join(60)

    assert sorted(handled(file)) == sorted(wanted), f"seed {seed}"
