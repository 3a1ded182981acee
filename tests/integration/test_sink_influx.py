"""The line protocol sink against an HTTP endpoint that keeps points as InfluxDB does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr

from nilo_consumers.batch import ORIGIN, Batch, Span
from nilo_consumers.errors import RowsRefusedError, StoreRefusedError, StoreUnavailableError
from nilo_consumers.influx import InfluxSink
from nilo_schemas.codec import encode
from nilo_schemas.registry import Registry
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.integration.line_server import LineServer, line_server
from tests.integration.programs import running, wait_for
from tests.integration.sinking import produce, send, sinking
from tests.integration.windows import read_topic
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


def test_a_server_that_fails_at_times_has_all_windows_at_the_end(
    server: LineServer, settings: Settings
) -> None:
    server.answers = [(500, {}, b""), (429, {"Retry-After": "1"}, b""), (503, {}, b"")]
    send(settings, [window(number) for number in range(20)])
    with sinking("influx", at(server, settings)) as sink:
        wait_for("20 windows", lambda: len(server.points) == 20)
        wait_for("counted", lambda: sink.total("nilo_stored_events_total") == 20)


def test_windows_that_the_store_refuses_become_dead_letters_and_the_rest_lands(
    server: LineServer, settings: Settings
) -> None:
    poison = [window(n, dimensions={"model": "poison"}) for n in (0, 7, 8)]
    send(settings, [*poison[:1], *map(window, range(20)), *poison[1:]], partition=0)
    with sinking("influx", at(server, settings)) as sink:
        wait_for("20 windows", lambda: len(server.points) == 20)
        wait_for("letters", lambda: len(read_topic(settings, "dlq.metrics.windows")) == 3)
        wait_for("counted", lambda: sink.total("nilo_dead_letters_total") == 3)
    assert len(server.points) == 20


def test_a_killed_sink_that_starts_again_leaves_each_window_once_in_its_last_revision(
    server: LineServer, settings: Settings, tmp_path: Path
) -> None:
    """Its offsets are the group's: what was posted and not committed is posted again."""
    sent = [window(n, revision=r, count=10 + r) for n in range(4000) for r in range(1 + n % 3)]
    schema_id = Registry(settings).schema_id(MetricWindow)
    # By start to a partition: the revisions of a window come in their order, as from the engine.
    for partition in range(settings.partitions):
        mine = [each for each in sent if each.window_start.second // 10 % 4 == partition]
        produce(
            settings, "metrics.windows", [encode(each, schema_id) for each in mine],
            partition=partition,
        )  # fmt: skip
    reached = at(server, settings)
    for least in (1, 3):
        with running(reached, "sink", "influx", log=tmp_path / "log") as process:
            wait_for("posts", partial(_posts, server, least))
            process.send_signal(signal.SIGKILL)
    with running(reached, "sink", "influx", log=tmp_path / "log"):
        wait_for("all", lambda: len(server.points) == 4000)
        newest = {each.window_start: each for each in sent}
        expected = {int(b.timestamp()) * 10**9: f"{w.count}i" for b, w in newest.items()}

        def found() -> dict[int, str]:
            return {time: fields["count"] for (_, _, time), fields in server.points.items()}

        wait_for("the last revisions", lambda: found() == expected)
    assert TOKEN not in (tmp_path / "log").read_text()
