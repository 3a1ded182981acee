import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nilo_deploy import process
from nilo_deploy.errors import ServerError
from nilo_deploy.parts import psutil
from nilo_deploy.process import Command, Identity
from nilo_deploy.state import write_json

# says "ready" once the signal's handling is settled, then waits for a signal
_OBEDIENT = "print('ready', flush=True); import signal; signal.pause()"
_STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('ready', flush=True)\nwhile True: signal.pause()"
)


def _command(code: str, tmp_path: Path) -> Command:
    return Command([sys.executable, "-c", code], tmp_path, {"MINE": "1"})


def _wait_for(log: Path, words: str) -> None:
    while words not in log.read_text():
        os.sched_yield()


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "run" / "x.json"
    yield path
    found = process.find(path)
    if found:
        process.stop({found: signal.SIGKILL}, 10)


def test_a_started_process_is_found_again_in_a_session_of_its_own(
    tmp_path: Path, pid_file: Path
) -> None:
    log = tmp_path / "logs" / "x.log"
    started = process.start(_command(_OBEDIENT, tmp_path), log, pid_file)
    assert process.find(pid_file) == started
    assert os.getsid(started.pid) == started.pid != os.getsid(0)
    _wait_for(log, "ready")
    assert process.stop({started: signal.SIGTERM}, 10) == []
    assert process.find(pid_file) is None


def test_a_process_that_ignores_the_signal_is_killed(tmp_path: Path, pid_file: Path) -> None:
    log = tmp_path / "x.log"
    started = process.start(_command(_STUBBORN, tmp_path), log, pid_file)
    _wait_for(log, "ready")
    assert process.stop({started: signal.SIGTERM}, 0.2) == [started]
    assert not process.alive(started)


def test_a_zombie_is_not_alive(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    identity = Identity(child.pid, psutil.Process(child.pid).create_time())
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not reaped by anybody
    assert not process.alive(identity)
    child.wait()


def test_a_recycled_pid_is_not_ours_and_is_left_alone(pid_file: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _OBEDIENT], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        write_json(pid_file, {"pid": other.pid, "started": 1_000_000_000.0})
        assert process.find(pid_file) is None
        assert process.stop({Identity(other.pid, 1_000_000_000.0): signal.SIGKILL}, 1) == []
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "started": 1}'])
def test_a_damaged_pid_file_names_no_process(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert process.find(tmp_path / "x.json") is None


def test_servers_do_not_see_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "secret")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Dx=y")
    seen = process.run(_command("import os; print(sorted(os.environ))", tmp_path), "looking")
    assert "MINE" in seen
    assert "SASL" not in seen
    assert "JAVA" not in seen


def test_a_failed_program_is_an_error_with_its_last_lines_and_no_stack_frames(
    tmp_path: Path,
) -> None:
    code = "print('first'); print('Cause: disk full'); print('\\tat x.y(Z.java:1)'); exit(3)"
    with pytest.raises(ServerError, match=r"making it failed \(exit code 3\)") as caught:
        process.run(_command(code, tmp_path), "making it")
    assert str(caught.value).endswith("Cause: disk full")


def test_a_long_log_is_set_aside(tmp_path: Path, pid_file: Path) -> None:
    log = tmp_path / "x.log"
    with log.open("wb") as file:
        file.truncate(10_000_001)
    started = process.start(_command(_OBEDIENT, tmp_path), log, pid_file)
    assert log.stat().st_size < 100
    assert (tmp_path / "x.log.1").stat().st_size == 10_000_001
    process.stop({started: signal.SIGKILL}, 10)
