"""The line protocol sink against an HTTP endpoint that keeps points as InfluxDB does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr

from nilo_consumers.batch import ORIGIN, Batch, Span
from nilo_consumers.errors import RowsRefusedError, StoreRefusedError, StoreUnavailableError
from nilo_consumers.influx import InfluxSink
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.integration.line_server import LineServer, line_server
from tests.window_rows import window_rows

pytestmark = pytest.mark.integration
START = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = "t0ken-nobody-may-see"


@pytest.fixture
def server() -> Iterator[LineServer]:
    with line_server() as running_server:
        yield running_server


def window(number: int = 0, **more: Any) -> MetricWindow:
    begin = START + timedelta(seconds=10 * number)
    values: dict[str, Any] = {
        "metric": "llm.duration", "unit": "seconds", "window": "10s", "window_start": begin,
        "window_end": begin + timedelta(seconds=10), "dimensions": {"model": "m"}, "count": 10,
        "errors": 2, "sum": 5.0, "min": 0.1, "max": None, "mean": 0.5, "rate": 1e-7,
        "error_ratio": 0.2, "quantiles": {"p95": 2.25, "p99.9": 2.5}, "final": True, "revision": 0,
        "watermark": begin, "sources": [],
    }  # fmt: skip
    return MetricWindow(**(values | more))


def batch(*windows: MetricWindow) -> Batch:
    table = window_rows(windows)
    for field, values in zip(ORIGIN, ([0] * len(windows), range(len(windows))), strict=True):
        table = table.append_column(field, pa.array(values, field.type))
    return Batch("metrics.windows", table, {0: Span(0, len(windows))})


def at(server: LineServer, settings: Settings) -> Settings:
    more = {"influx_url": server.url, "influx_token": SecretStr(TOKEN)}
    return settings.model_copy(update=more)


def _posts(server: LineServer, least: int) -> bool:
    return len(server.requests) >= least


def sink_to(server: LineServer) -> InfluxSink:
    return InfluxSink(at(server, Settings()))


def test_a_window_is_one_point_and_its_last_revision_the_one_that_stays(
    server: LineServer,
) -> None:
    late = window(revision=1, count=12)
    sink_to(server).write(batch(window(), late, window(1, final=False), window(2)))

    tags = frozenset({("unit", "seconds"), ("window", "10s"), ("model", "m")})
    first = int(START.timestamp()) * 1_000_000_000
    assert set(server.points) == {
        ("llm.duration", tags, first), ("llm.duration", tags, first + 20_000_000_000),
    }  # fmt: skip
    assert server.points["llm.duration", tags, first] == {
        "count": "12i", "errors": "2i", "revision": "1i", "sum": "5", "min": "0.1", "mean": "0.5",
        "rate": "1e-7", "error_ratio": "0.2", "p95": "2.25", "p99.9": "2.5",
    }  # fmt: skip
    method, path, headers = server.requests[0]
    assert (method, path) == ("POST", "/api/v2/write?org=o&bucket=b")
    assert headers["Authorization"] == f"Token {TOKEN}"


def test_no_text_of_a_dimension_breaks_a_line(server: LineServer) -> None:
    hard = {
        "window": "a b", "x y,z=": 'q"u,o t=e', "line": "one\ntwo", "end": "C:\\", "empty": "",
        "ü": "schön \\, ja",
    }  # fmt: skip
    assert sink_to(server).write(batch(window(dimensions=hard, unit=""), window(1))) == 2

    found = {frozenset(tags) for _, tags, _ in server.points}
    assert found == {
        frozenset({("unit", "seconds"), ("window", "10s"), ("model", "m")}),
        frozenset({
            ("window", "10s"), ("dim_window", "a b"), ("x y,z=", 'q"u,o t=e'),
            ("line", r"one\ntwo"), ("end", "C:\\_"), ("ü", "schön \\, ja"),
        }),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "text", "raised"),
    [
        (503, b"", StoreUnavailableError),
        (429, b"", StoreUnavailableError),
        (413, b"too large", RowsRefusedError),
        (400, b"""{"message": "unable to parse 'x': missing fields"}""", RowsRefusedError),
        (422, b"partial write: points beyond retention policy", RowsRefusedError),
        (400, b'{"message": "bucket is required"}', StoreRefusedError),
        (401, b"unauthorized", StoreRefusedError),
        (404, b"no such bucket", StoreRefusedError),
    ],
)
def test_an_answer_means_wait_or_refused_rows_or_the_end(
    server: LineServer, status: int, text: bytes, raised: type[Exception]
) -> None:
    server.answers = [(status, {}, text)]
    with pytest.raises(raised) as got:
        sink_to(server).write(batch(window()))
    assert type(got.value) is raised
    assert str(status) in str(got.value)
    assert TOKEN not in str(got.value)


def test_a_redirect_is_refused_and_not_made_a_get(server: LineServer) -> None:
    server.answers = [(302, {"Location": server.url}, b"")]
    with pytest.raises(StoreRefusedError):
        sink_to(server).write(batch(window()))
    assert [method for method, *_ in server.requests] == ["POST"]


def test_nothing_is_asked_of_a_server_that_said_when_to_come_back(server: LineServer) -> None:
    server.answers = [(429, {"Retry-After": "3600"}, b"")]
    sink = sink_to(server)
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            sink.write(batch(window()))
    assert len(server.requests) == 1
