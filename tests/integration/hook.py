"""A receiver of webhooks: keeps what it is sent, and answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, NamedTuple


class Got(NamedTuple):
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def drawn(self) -> str:
        """`firing slow:firing fast:resolved`: the status, then rule and state of each alert."""
        alerts = (f"{a['labels']['alertname']}:{a['status']}" for a in self.json["alerts"])
        return " ".join([self.json["status"], *sorted(alerts)])


class Hook(ThreadingHTTPServer):
    """Requests by path; `answers` come first, each a status; 0 breaks the connection off.

    While `open` is not set, a request is kept and not answered.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.got: list[Got] = []
        self.answers: list[int] = []
        self.open = Event()
        self.open.set()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def drawn(self) -> list[str]:
        return [each.drawn for each in self.got]


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.answers.pop(0) if self.server.answers else 200
        self.server.got.append(Got(self.path, dict(self.headers), body))
        self.server.open.wait()
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def hook() -> Iterator[Hook]:
    """A receiver that runs while the block does."""
    with Hook() as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.open.set()
        server.shutdown()
