"""The HTTP server of a sink process: /metrics and /health."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from nilo_consumers import protobuf
from nilo_consumers.errors import AddressTakenError
from nilo_consumers.metrics import SinkMetrics

MOST_SCRAPES = 4  # at the same time: each of them holds a page
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request, none of which keeps the process alive."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 30  # seconds for a request and its answer; a reader that is slower is cut off

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a scrape every few seconds is no news."""


class _Page:
    """The body of a scrape; its place is free again when all of it is sent."""

    def __init__(self, body: Iterable[bytes], places: threading.Semaphore) -> None:
        self._body, self._places = body, places

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        """Called by the server, whatever became of the answer."""
        self._places.release()


def application(metrics: SinkMetrics, *, native: bool = False) -> App:
    """The WSGI application: /metrics, /health (200, or 503 with a reason), else 404.

    Args:
        metrics: what to serve.
        native: whether a scrape that asks for protobuf gets it, and in it native histograms.
    """
    text, places = make_wsgi_app(metrics.registry), threading.Semaphore(MOST_SCRAPES)

    def scrape(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if native and protobuf.accepts(environ.get("HTTP_ACCEPT", "")):
            body = protobuf.encoded(metrics.registry.collect())
            start("200 OK", [("Content-Type", protobuf.CONTENT_TYPE)])
            return [body]
        found: Iterable[bytes] = text(environ, start)
        return found

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            if not places.acquire(blocking=False):
                return _json(start, "503 Service Unavailable", {"scrapes": MOST_SCRAPES})
            try:
                return _Page(scrape(environ, start), places)
            except BaseException:
                places.release()
                raise
        if path == "/health":
            trouble = metrics.trouble
            status = "503 Service Unavailable" if trouble else "200 OK"
            return _json(start, status, {"ok": trouble is None, "reason": trouble})
        return _json(start, "404 Not Found", {"paths": ["/metrics", "/health"]})

    return answer


def _json(start: Callable[..., Any], status: str, body: dict[str, Any]) -> list[bytes]:
    start(status, [("Content-Type", "application/json")])
    return [json.dumps(body).encode() + b"\n"]


@contextmanager
def serving(metrics: SinkMetrics, host: str, port: int, *, native: bool = False) -> Iterator[str]:
    """Serve while the block runs; gives the URL. Port 0 takes a free one; see `application`.

    Raises:
        AddressTakenError: the address cannot be listened on.
    """
    try:
        server = make_server(host, port, application(metrics, native=native), _Server, _Quiet)
    except (OSError, OverflowError) as error:
        raise AddressTakenError(
            f"cannot listen on {host}:{port} ({error}); choose another port"
        ) from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
