"""A store for line protocol: keeps points as InfluxDB does, and fails when it is told to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
NO_CONTENT: Answer = (204, {}, b"")
Point = tuple[str, frozenset[tuple[str, str]], int]
Points = dict[Point, dict[str, str]]


class LineServer(ThreadingHTTPServer):
    """Points by measurement, tags and time.

    `answers` come first, and their lines are not kept; lines with `poison` in them are refused.
    """

    daemon_threads = True

    def __init__(self, port: int, points: Points) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.points = points
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/api/v2/write?org=o&bucket=b"


class _Handler(BaseHTTPRequestHandler):
    server: LineServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        status, headers, text = self.server.answers.pop(0) if self.server.answers else NO_CONTENT
        if status == 204 and "poison" in body:
            status, text = 400, b'{"code": "invalid", "message": "unable to parse it"}'
        if status == 204:
            for line in body.split("\n"):
                key, fields = parsed(line)
                # In one step: tests look at the points meanwhile.
                self.server.points[key] = self.server.points.get(key, {}) | fields
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def line_server(port: int = 0, points: Points | None = None) -> Iterator[LineServer]:
    """A server that runs while the block does; 0 is a free port, and `points` what it holds."""
    with LineServer(port, {} if points is None else points) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def parsed(line: str) -> tuple[Point, dict[str, str]]:
    """One line; an assertion fails on what InfluxDB would not read."""
    series, fields, time = re.split(r"(?<!\\) ", line)
    measurement, *tags = re.split(r"(?<!\\),", series)
    point = measurement, frozenset(_pair(tag) for tag in tags), int(time)
    return point, dict(_pair(field) for field in re.split(r"(?<!\\),", fields))


def _pair(text: str) -> tuple[str, str]:
    name, value = re.split(r"(?<!\\)=", text)
    assert name, text
    assert value, text
    return _plain(name), _plain(value)


def _plain(text: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", text)
