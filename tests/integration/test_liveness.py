"""Workers that get nowhere, or cannot go on: they say so and end, so that a supervisor helps."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nilo_schemas.settings import Settings
from tests.integration.filling import TOPIC, committed, fill, group_of, raw_producer
from tests.integration.own_reports import own_reports
from tests.integration.programs import free_port, running, wait_for

pytestmark = pytest.mark.integration


@contextmanager
def registry_without_schemas(settings: Settings) -> Iterator[str]:
    """A way to the registry on which questions for a schema by its id are never answered."""
    closing = threading.Event()
    real = settings.registry_url()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if "/schemas/ids/" in self.path:
                closing.wait()
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0))) or None
            ask = urllib.request.Request(real + self.path, body, method=self.command)
            ask.add_header("content-type", "application/json")
            try:
                with urllib.request.urlopen(ask, timeout=30) as answer:
                    status, text = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, text = error.code, error.read()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = answer  # noqa: N815  http.server wants these names

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        closing.set()
        server.shutdown()
        server.server_close()


def health(port: str) -> tuple[int, dict[str, Any]]:
    """The status and the body of `/health`; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


def stuck(settings: Settings, port: str) -> dict[int, int]:
    """How far behind it is, of the calls' partitions that an unhealthy worker names."""
    status, body = health(port)
    if status != 503 or body["status"] != "stuck":
        return {}
    behind = {one["name"]: one["behind"] for one in body["stuck"]}
    names = {f"{settings.topic_prefix}{TOPIC}/{number}": number for number in range(4)}
    return {number: behind[name] for name, number in names.items() if name in behind}


def test_a_worker_that_waits_for_ever_says_so_and_ends(settings: Settings, tmp_path: Path) -> None:
    fill(settings, 1_000)
    port, log = free_port(), tmp_path / "process.log"
    with registry_without_schemas(settings) as url:
        more = {"schema_registry_url": url, "stuck_after": 5.0, "report_every": 1.0}
        hung = settings.model_copy(update=more)
        with running(hung, "process", "--metrics-port", port, log=log) as worker:
            behind = wait_for("unhealthy", lambda: stuck(settings, port))
            assert worker.wait(90) == 1

    assert set(behind.values()) == {250}
    reports = own_reports(settings)
    told = {(event.component, event.subject) for event in reports if event.status == "stuck"}
    assert ("processors", TOPIC) in told
    topic = settings.topic_prefix + TOPIC
    line = rf"ERROR.*stuck: {re.escape(topic)}/\d \(no progress for \d+ s, 250 messages behind"
    assert re.search(line, log.read_text())


def test_a_consumer_that_falls_silent_is_found_out(settings: Settings, tmp_path: Path) -> None:
    """Faust issues 175, 523 and 532: alive, with partitions, and reading nothing any more."""
    port = free_port()
    with (tmp_path / "process.log").open("wb") as out:
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.silent_worker", port],
            env=os.environ | settings.environment() | {"NILO_STUCK_AFTER": "5"},
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
        )
    assert worker.stdin is not None
    try:
        wait_for("health", lambda: health(port)[0] == 200)
        fill(settings, 400)
        wait_for("the first events", lambda: committed(settings) == 400)
        worker.stdin.write(b"\n")
        worker.stdin.flush()
        fill(settings, 400)
        behind = wait_for("unhealthy", lambda: stuck(settings, port))
        assert worker.wait(90) == 1
    finally:
        worker.kill()
        worker.wait()
    assert set(behind.values()) == {100}


def test_a_worker_whose_state_cannot_be_read_back_says_so_and_ends(
    settings: Settings, tmp_path: Path
) -> None:
    """It must not go on with the state that it has, or with none."""
    fill(settings, 400)
    port, log = free_port(), tmp_path / "process.log"
    with running(settings, "process", "--metrics-port", port, log=log):
        wait_for("the commit", lambda: committed(settings) == 400)
    producer = raw_producer(settings)
    producer.produce(f"{group_of(settings)}-sources-changelog", b"no state", b"no stamp")
    assert producer.flush(30) == 0

    with running(settings, "process", "--metrics-port", port, log=log) as worker:
        assert worker.wait(90) == 1

    assert "sources: the state cannot be read back" in log.read_text()
