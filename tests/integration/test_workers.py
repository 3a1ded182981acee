"""`nilo process --workers 3` on the real broker: kill a worker, stop all, kill the supervisor."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from nilo_producers import Producer
from nilo_schemas.families import LlmEvent
from nilo_schemas.settings import Settings
from tests.integration.programs import free_port, running, wait_for
from tests.integration.windows import newest_windows

pytestmark = pytest.mark.integration
START = datetime(2026, 1, 1, tzinfo=UTC)


def emit(settings: Settings, first: int) -> None:
    """2000 calls within 20 seconds, the first one `first` seconds after START."""
    with Producer(settings) as producer:
        for i in range(2000):
            time = START + timedelta(seconds=first + i / 100)
            producer.emit(
                LlmEvent(type="llm.call", source="test", subject=f"s{i % 17}", model="m", time=time)
            )


def calls(settings: Settings) -> dict[float, int]:
    """Calls in final 10-second windows, by seconds after START."""
    return {
        (start - START).total_seconds(): window.count
        for (metric, length, start, _), window in newest_windows(settings).items()
        if (metric, length) == ("llm.calls", "10s") and window.final
    }


def pids(log: Path, what: str) -> dict[int, list[int]]:
    """The pids of which the log says that they are `what`, by the number of the worker."""
    found: dict[int, list[int]] = {}
    for number, pid in re.findall(rf"worker (\d) at \S+ \(pid (\d+)\) {what}", log.read_text()):
        found.setdefault(int(number), []).append(int(pid))
    return found


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_killed_worker_comes_back_the_windows_are_right_and_sigterm_stops_all(
    settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "process.log"
    words = ("process", "--workers", "3", "--metrics-port", free_port(row=3))
    with running(settings, *words, log=log) as supervisor:
        wait_for("three workers", lambda: len(pids(log, "ready")) == 3)
        emit(settings, 0)
        wait_for("the first windows", lambda: sum(calls(settings).values()) == 2000)
        killed = pids(log, "ready")[2][0]
        os.kill(killed, signal.SIGKILL)
        emit(settings, 20)
        wait_for("the worker again", lambda: len(pids(log, "ready")[2]) == 2)
        emit(settings, 40)
        wait_for("the last windows", lambda: sum(calls(settings).values()) == 6000)
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(40) == 0

    assert calls(settings) == {float(start): 1000 for start in range(0, 60, 10)}
    started = [pid for each in pids(log, "started").values() for pid in each]
    assert len(started) == 4
    assert pids(log, "killed by signal 9 ") == {2: [killed]}
    assert len(pids(log, "exited with code 0")) == 3
    assert [pid for pid in started if alive(pid)] == []


def test_no_worker_outlives_a_killed_supervisor(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "process.log"
    words = ("process", "--workers", "3", "--metrics-port", free_port(row=3))
    started: list[int] = []
    try:
        with running(settings, *words, log=log) as supervisor:
            wait_for("three workers", lambda: len(pids(log, "ready")) == 3)
            started = [pid for (pid,) in pids(log, "started").values()]
            assert [pid for pid in started if not alive(pid)] == []
            supervisor.kill()
            supervisor.wait()

        wait_for("the end of all workers", lambda: not any(alive(pid) for pid in started))
    finally:
        for pid in started:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
