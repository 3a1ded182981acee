"""Workers that join their group while the broker, or another worker, is not as it should be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nilo_schemas.settings import Settings
from tests.integration.filling import committed, fill
from tests.integration.programs import free_port, running, wait_for

pytestmark = pytest.mark.integration


def test_a_leader_that_knows_no_partitions_asks_before_it_gives_them_out(
    settings: Settings, tmp_path: Path
) -> None:
    """Else no worker has any, all say that they are well, and nothing is read."""
    fill(settings, 400)
    with (tmp_path / "process.log").open("wb") as out:
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.forgetful_worker", free_port()],
            env=os.environ | settings.environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        # Less than the age at which metadata is asked for anyway.
        wait_for("the commit", lambda: committed(settings) == 400, timeout=25)
    finally:
        worker.kill()
        worker.wait()


def test_a_worker_that_is_stopped_while_the_group_joins_waits_for_nobody(
    settings: Settings, tmp_path: Path
) -> None:
    """Another one is frozen: the group would wait as long as its session lasts."""
    fill(settings, 400)
    frozen, log = tmp_path / "frozen.log", tmp_path / "stopped.log"
    with running(settings, "process", "--metrics-port", free_port(), log=frozen) as other:
        wait_for("the commit", lambda: committed(settings) == 400)
        other.send_signal(signal.SIGSTOP)
        with running(settings, "process", "--metrics-port", free_port(), log=log) as worker:
            wait_for("it joins", lambda: "(Re-)joining group" in log.read_text())
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(60) == 0
        other.send_signal(signal.SIGCONT)

    told = log.read_text()
    assert "leaving without waiting for it" in told
    assert "Traceback" not in told
