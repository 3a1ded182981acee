"""Workers that join their group while the broker, or another worker, is not as it should be."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from nilo_schemas.settings import Settings
from tests.integration.filling import committed, fill
from tests.integration.programs import free_port, running, wait_for

pytestmark = pytest.mark.integration
ODD = "tests.integration.odd_worker"


def test_a_leader_that_knows_no_partitions_asks_before_it_gives_them_out(
    settings: Settings, tmp_path: Path
) -> None:
    """Else no worker has any, all say that they are well, and nothing is read."""
    fill(settings, 400)
    words = ("forgetful", "process", "--metrics-port", free_port())
    with running(settings, *words, log=tmp_path / "process.log", module=ODD):
        wait_for("the commit", lambda: committed(settings) == 400)


def test_a_worker_that_is_stopped_while_the_group_joins_waits_for_nobody(
    settings: Settings, tmp_path: Path
) -> None:
    """Another one is frozen: the group would wait as long as its session lasts."""
    fill(settings, 400)
    frozen, log = tmp_path / "frozen.log", tmp_path / "stopped.log"
    words = ("patient", "process", "--metrics-port", free_port())
    with running(settings, *words, log=frozen, module=ODD) as other:
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
