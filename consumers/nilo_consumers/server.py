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

from nilo_consumers.errors import AddressTakenError
from nilo_consumers.metrics import SinkMetrics

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request, none of which keeps the process alive."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a scrape every few seconds is no news."""


def application(metrics: SinkMetrics) -> App:
    """The WSGI application: /metrics, /health (200, or 503 with a reason), else 404."""
    scrape = make_wsgi_app(metrics.registry)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            body: Iterable[bytes] = scrape(environ, start)
            return body
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
def serving(metrics: SinkMetrics, host: str, port: int) -> Iterator[str]:
    """Serve while the block runs; gives the URL. Port 0 takes a free one.

    Raises:
        AddressTakenError: the address cannot be listened on.
    """
    try:
        server = make_server(host, port, application(metrics), _Server, _Quiet)
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
