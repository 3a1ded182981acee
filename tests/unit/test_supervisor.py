"""The supervisor of workers: its decisions as pure functions, the rest with real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from nilo_cli.main import main
from nilo_deploy.ports import free_port, is_free
from nilo_stream_processors.restarts import History

LIMIT = 30.0
SUPERVISOR = """
import json, logging, os, sys
from nilo_stream_processors.supervisor import HopelessError, Limits, Worker, supervise
logging.basicConfig(level=logging.INFO, format="%(message)s")
told = json.load(sys.stdin)
workers = [Worker(**worker) for worker in told["workers"]]
try:
    sys.exit(supervise(workers, os.environ, limits=Limits(**told["limits"])))
except HopelessError as error:
    sys.exit(f"hopeless: {error}")
"""
# A worker: serves /health at a port until SIGTERM, then exits with 0.
HEALTHY = """
import http.server, signal, sys
from nilo_stream_processors.supervisor import end_with_stdin
end_with_stdin(0.2)
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""
STUBBORN = HEALTHY.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
FAILING = "import sys; sys.exit(3)"


def failing(first: int, last: int) -> str:
    """A healthy worker that fails in these starts; each start leaves a line in a file."""
    return f"""
import pathlib, sys
starts = pathlib.Path("starts")
with starts.open("a") as file:
    file.write("one\\n")
if {first} <= len(starts.read_text().splitlines()) <= {last}:
    sys.exit(3)
{HEALTHY}"""


@dataclass
class Running:
    """A supervisor and what it has written so far."""

    process: subprocess.Popen[str]
    log: Path

    def pids(self, what: str) -> dict[int, list[int]]:
        """The pids of which the log says that they are `what`, by the number of the worker."""
        found: dict[int, list[int]] = {}
        lines = rf"^worker (\d) \(pid (\d+)\) {what}"
        for number, pid in re.findall(lines, self.log.read_text(), re.MULTILINE):
            found.setdefault(int(number), []).append(int(pid))
        return found

    def ready(self, number: int, count: int = 1) -> int:
        """Wait until a worker is ready for the `count`-th time; returns its pid."""
        eventually(lambda: len(self.pids("ready").get(number, [])) >= count)
        return self.pids("ready")[number][count - 1]

    def ended(self) -> int:
        """The exit code, once it has ended; nothing that it started runs then."""
        code = self.process.wait(LIMIT)
        eventually(lambda: not self.left())
        return code

    def left(self) -> list[int]:
        """The workers that run."""
        return [pid for pids in self.pids("started").values() for pid in pids if alive(pid)]


def eventually(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not fact():
        assert time.monotonic() < deadline, f"not within {LIMIT} s"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def port_behind_a_free_one() -> Iterator[int]:
    """A port that is listened on; the one before it is free, and no client is given it."""
    port = next(port for port in range(20_000, 32_000) if is_free(port - 1) and is_free(port))
    with socket.create_server(("127.0.0.1", port)):
        yield port


@contextmanager
def supervised(folder: Path, *codes: str, argv: list[str] | None = None) -> Iterator[Running]:
    """A supervisor of a worker for each piece of code, with limits that a test can wait for."""
    ports = [free_port() for _ in codes]
    workers = [
        {
            "name": f"worker {number}",
            "argv": argv or [sys.executable, "-c", code, str(port)],
            "host": "127.0.0.1",
            "port": port,
        }
        for number, (code, port) in enumerate(zip(codes, ports, strict=True), 1)
    ]
    limits = {"first": 0.05, "longest": 0.1, "ask": 0.05, "stop": 1.0}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR],
            stdin=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            text=True,
            start_new_session=True,
        )
    running = Running(process, folder / "log")
    try:
        assert process.stdin is not None
        json.dump({"workers": workers, "limits": limits}, process.stdin)
        process.stdin.close()
        yield running
    finally:
        process.kill()
        process.wait()
        for pid in running.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def failed(*runs: tuple[float, bool]) -> History:
    """The history of a worker that failed after these seconds, ready or not."""
    history = History()
    for ran, ready in runs:
        history = history.after(ran, ready=ready)
    return history


def test_the_wait_doubles_up_to_half_a_minute() -> None:
    histories = [failed(*[(0.0, True)] * failures) for failures in (1, 2, 3, 4, 5, 6, 7, 5000)]

    assert [history.wait(1.0) for history in histories] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert [history.wait(0.5) for history in histories] == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_the_wait_is_short_again_after_a_calm_minute() -> None:
    assert failed((0, True), (0, True), (59.9, True)).wait(1.0) == 4
    assert failed((0, True), (0, True), (60.0, True)).wait(1.0) == 1


@pytest.mark.parametrize("ran", [0.1, 30.0, 600.0])
def test_a_worker_that_is_never_ready_is_given_up_at_its_fifth_failure(ran: float) -> None:
    assert not failed(*[(ran, False)] * 4).hopeless()
    assert failed(*[(ran, False)] * 5).hopeless()


def test_a_worker_that_was_ready_once_is_never_given_up() -> None:
    assert not failed((0, False), (2, True), *[(0, False)] * 100).hopeless()


def test_a_killed_worker_comes_back_and_the_other_is_left_alone(tmp_path: Path) -> None:
    with supervised(tmp_path, HEALTHY, HEALTHY) as running:
        first, second = running.ready(1), running.ready(2)
        os.kill(first, signal.SIGKILL)
        again = running.ready(1, 2)
        assert alive(again)
        running.process.send_signal(signal.SIGTERM)

        assert running.ended() == 0
    assert running.pids("started") == {1: [first, again], 2: [second]}
    assert running.pids("killed by signal 9 ") == {1: [first]}


def test_ctrl_c_stops_all_and_reaches_the_workers_as_sigterm_alone(tmp_path: Path) -> None:
    """A terminal sends SIGINT to the whole group; of that, these workers would die."""
    with supervised(tmp_path, HEALTHY, HEALTHY) as running:
        running.ready(1)
        running.ready(2)
        os.killpg(running.process.pid, signal.SIGINT)

        assert running.ended() == 0


def test_a_worker_that_fails_at_first_is_started_until_it_runs(tmp_path: Path) -> None:
    with supervised(tmp_path, failing(1, 2)) as running:
        running.ready(1)
        running.process.send_signal(signal.SIGTERM)

        assert running.ended() == 0
    assert len(running.pids(r"exited with code 3; starts again in 0\.\d s$")[1]) == 2


def test_a_worker_that_was_ready_is_started_however_often_it_fails(tmp_path: Path) -> None:
    with supervised(tmp_path, failing(2, 7)) as running:
        os.kill(running.ready(1), signal.SIGKILL)
        running.ready(1, 2)
        running.process.send_signal(signal.SIGTERM)

        assert running.ended() == 0
    assert len(running.pids("exited with code 3; starts again")[1]) == 6


def test_a_worker_that_always_fails_ends_all_with_its_name_and_reason(tmp_path: Path) -> None:
    with supervised(tmp_path, HEALTHY, FAILING) as running:
        assert running.ended() == 1
    assert len(running.pids("started")[2]) == 5
    (told,) = [line for line in running.log.read_text().splitlines() if "hopeless: " in line]
    assert "worker 2 was started 5 times and never ready" in told
    assert "exited with code 3" in told


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with supervised(tmp_path, "", argv=["/nowhere/python"]) as running:
        assert running.ended() == 1
    assert "cannot be started ([Errno 2] No such file" in running.log.read_text()


def test_a_worker_that_does_not_stop_is_killed_and_that_is_no_clean_end(tmp_path: Path) -> None:
    with supervised(tmp_path, STUBBORN, HEALTHY) as running:
        stubborn, healthy = running.ready(1), running.ready(2)
        running.process.send_signal(signal.SIGTERM)

        assert running.ended() == 1
    assert running.pids("did not stop within 1 s") == {1: [stubborn]}
    assert running.pids("exited with code 0") == {2: [healthy]}


def test_a_worker_that_somebody_stops_stays_down_and_the_last_one_ends_all(tmp_path: Path) -> None:
    with supervised(tmp_path, HEALTHY, HEALTHY) as running:
        first, second = running.ready(1), running.ready(2)
        os.kill(first, signal.SIGTERM)
        eventually(lambda: running.pids("exited with code 0") == {1: [first]})
        os.kill(second, signal.SIGTERM)

        assert running.ended() == 0
    assert running.pids("started") == {1: [first], 2: [second]}


@pytest.mark.parametrize("code", [HEALTHY, STUBBORN])
def test_no_worker_outlives_a_killed_supervisor(tmp_path: Path, code: str) -> None:
    with supervised(tmp_path, code, code) as running:
        running.ready(1)
        running.ready(2)
        running.process.kill()

        assert running.ended() == -signal.SIGKILL


def test_a_taken_port_of_a_later_worker_is_told_before_anything_starts(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NILO_HOME", str(tmp_path))
    with port_behind_a_free_one() as port:
        assert main(["process", "--workers", "2", "--metrics-port", str(port - 1)]) == 1
    told = capfd.readouterr().err
    # Clients that earlier tests of this process have left behind write there when they like.
    lines = [line for line in told.splitlines() if "rdkafka#" not in line]
    assert len(lines) == 1
    assert f"cannot serve /metrics at 127.0.0.1:{port} (Address already in use)" in lines[0]


def test_workers_beyond_the_last_port_are_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["process", "--workers", "3", "--metrics-port", "65534"]) == 2
    assert "would need port 65536" in capfd.readouterr().err
