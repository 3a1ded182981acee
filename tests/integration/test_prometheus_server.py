"""The Prometheus sink before Debian's Prometheus, scrapers that do not read, and lagging groups."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from nilo_consumers import asking, server
from nilo_consumers.group import committed
from nilo_consumers.server import MOST_SCRAPES
from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import encode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.results import Histogram, MetricWindow, SourceRange
from nilo_schemas.settings import Settings
from tests.integration.debian import program
from tests.integration.programs import free_port, wait_for
from tests.integration.sinking import Running, get, produce, send, sinking
from tests.integration.test_prometheus import window

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics(
        "metrics.windows", "alerts", "alerts.state", "alerts.silences", "events.llm"
    ),
]
ROOT = Path(__file__).parents[2]
WINDOWS = "metrics.windows"
OPEN_METRICS = "application/openmetrics-text"
# Of scale 0, so that bounds are powers of two: 10 values in (1/2, 1], 20 in (1, 2], 10 in (2, 4].
HISTOGRAM = Histogram(scale=0, zero=0, negative=0, indexes=[-1, 0, 1], counts=[10, 20, 10])
VALUES: dict[str, Any] = {"count": 40, "sum": 60.0, "mean": 1.5, "histogram": HISTOGRAM}


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[str]:
    """A Prometheus that scrapes the URL every second while the block runs."""
    port, config = free_port(), folder / "prometheus.yml"
    jobs = [{"job_name": "nilo", "static_configs": [{"targets": [target.split("//")[1]]}]}]
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    process = subprocess.Popen(
        [
            program("prometheus", "prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=native-histograms,exemplar-storage",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def asked(url: str, query: str) -> list[dict[str, Any]]:
    """The answer to a query; empty while the server is not there yet."""
    try:
        status, body = get(f"{url}/api/v1/query?query={quote(query)}")
    except OSError:
        return []
    return list(json.loads(body)["data"]["result"]) if status == HTTPStatus.OK else []


def number(url: str, query: str) -> float:
    (found,) = wait_for(query, lambda: asked(url, query))
    return float(found["value"][1])


def exemplars(url: str, query: str) -> list[dict[str, Any]]:
    span = f"start={time.time() - 600}&end={time.time() + 600}"
    body = get(f"{url}/api/v1/query_exemplars?query={query}&{span}")[1]
    return list(json.loads(body)["data"])


@pytest.mark.parametrize("form", ["classic", "native"])
def test_a_real_prometheus_scrapes_windows_counters_histograms_and_exemplars(
    settings: Settings, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "EVERY", 0.5)
    events = [
        LlmEvent(type="llm.call", source="test", trace_id=f"{n:032x}" if n else None)
        for n in range(4)
    ]
    send(settings, events, partition=1)
    # The last events of two series lie in one partition; one of them has no trace id.
    traced = SourceRange(topic="events.llm", partition=1, first_offset=1, last_offset=3)
    values: dict[str, Any] = VALUES | {"sources": [traced]}
    mine = settings.model_copy(update={"prometheus_histograms": form})
    untraced = SourceRange(topic="events.llm", partition=1, first_offset=0, last_offset=0)
    below = {
        "histogram": HISTOGRAM.model_copy(update={"negative": 2}),
        "dimensions": {"model": "n"},
        "sources": [untraced],
    }
    windows = [window("10s", **values), window("10s", minute=1, **values), window("1m", **values)]
    send(settings, [*windows, window("10s", **(values | below))], partition=0)
    with sinking("prometheus", mine) as sink:
        wait_for("windows", lambda: sink.total("nilo_stored_events_total") == 4)
        with prometheus(sink.url or "", tmp_path) as url:
            name, one = "nilo_llm_duration", 'provider="p"'
            assert number(url, f'{name}_p95_seconds{{window="1m"}}') == 2.25
            assert number(url, f'{name}_window_events{{window="10s",{one}}}') == 40
            assert number(url, f"{name}_events_total{{{one}}}") == 80
            assert number(url, 'up{job="nilo"}') == 1

            series = f"{name}_distribution_seconds" + ("_bucket" if form == "classic" else "")
            median = number(url, f"histogram_quantile(0.5, {series}{{{one}}})")
            if form == "classic":
                assert number(url, f'{series}{{le="2.0",{one}}}') == 60
                assert median == pytest.approx(1.5)
            else:
                assert number(url, f"histogram_count({series}{{{one}}})") == 80
                assert number(url, f"histogram_sum({series}{{{one}}})") == 120
                # At its finer scale the values are in the last bucket of each doubling.
                assert 2 ** (7 / 8) < median <= 2
                assert number(url, f'{series}_bucket{{model="n",le="0.0"}}') == 2

            (found,) = wait_for("exemplar", lambda: exemplars(url, f"{name}_events_total"))
            assert found["seriesLabels"]["provider"] == "p"
            src = f"{settings.topic_prefix}events.llm/1/3"
            for each in found["exemplars"]:
                assert each["labels"] == {"trace_id": f"{3:032x}", "src": src}
            assert {each["value"] for each in found["exemplars"]} == {"1"}


def test_promtool_finds_no_fault_in_the_page_and_the_shipped_configuration(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "EVERY", 0.5)
    promtool = program("promtool", "prometheus")
    produce(settings, WINDOWS, [b"garbage"], partition=0)
    send(settings, [window(**VALUES), window("10s", unit="", metric="llm.calls")], partition=0)
    with sinking("prometheus", settings) as sink:
        wait_for("windows", lambda: sink.total("nilo_stored_events_total") == 2)
        wait_for("lag", lambda: "kafka_consumergroup_group_lag_seconds{" in page(sink))
        body = page(sink)
        asked_for = Request(f"{sink.url}/metrics", headers={"Accept": OPEN_METRICS})
        with urlopen(asked_for, timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith(OPEN_METRICS)
            text = answer.read().decode()
            read = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # upstream's
            names = {family.name for family in read}

    assert "nilo_llm_duration_distribution_seconds" in names
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=body, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    config = ROOT / "deploy" / "prometheus" / "prometheus.yml"
    assert subprocess.run([promtool, "check", "config", config], check=False).returncode == 0


def page(sink: Running) -> str:
    return get(f"{sink.url}/metrics")[1]


def many(settings: Settings, numbers: Sequence[int], count: int) -> list[bytes]:
    """One window of each series, with labels so long that a page is more than sockets hold."""
    schema_id = Registry(settings).schema_id(MetricWindow)
    long = "x" * 1000
    made = (window(dimensions={"model": f"{each}-{long}"}, count=count) for each in numbers)
    return [encode(each, schema_id) for each in made]


def test_scrapers_that_do_not_read_hold_up_neither_windows_nor_health(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than the test takes on any machine, so that none of them is cut off meanwhile.
    monkeypatch.setattr(server._Quiet, "timeout", 600)
    produce(settings, WINDOWS, many(settings, range(900), 10), partition=0)
    part = (settings.topic_prefix + WINDOWS, 0)

    def stored() -> int:
        return committed(settings, "prometheus", [part]).get(part, 0)

    with sinking("prometheus", settings) as sink, ExitStack() as slow:
        wait_for("the first windows", lambda: stored() == 900)
        host, port = (sink.url or "").removeprefix("http://").split(":")
        for _ in range(MOST_SCRAPES):
            reader = slow.enter_context(socket.create_connection((host, int(port))))
            reader.settimeout(60)
            reader.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert reader.recv(12) == b"HTTP/1.0 200"
        assert get(f"{sink.url}/metrics")[0] == 503

        produce(settings, WINDOWS, many(settings, range(900), 12), partition=0)
        wait_for("the windows behind", lambda: stored() == 1800)
        assert get(f"{sink.url}/health")[0] == 200
        assert get(f"{sink.url}/metrics")[0] == 503

        slow.close()
        wait_for("place", lambda: get(f"{sink.url}/metrics")[0] == 200)
        assert sink.total("nilo_llm_duration_window_events") == 900 * 12


def test_the_lag_of_every_group_is_told_in_messages_and_seconds(settings: Settings) -> None:
    topic, group = (
        f"{settings.topic_prefix}events.llm",
        f"{settings.topic_prefix}nilo-sink-postgres",
    )
    producer, old = Producer(kafka_config(settings)), time.time() - 1000
    for age in (0, 500):  # the group has read the first of them
        producer.produce(topic, b"x", partition=1, timestamp=int((old + age) * 1000))
    assert producer.flush(30) == 0
    reader = Consumer(kafka_config(settings, group_id=group, enable_auto_commit=False))
    places = [TopicPartition(topic, 1, 1), TopicPartition(topic, 2, 0)]
    reader.commit(offsets=places, asynchronous=False)
    reader.close()

    with sinking("prometheus", settings) as sink:
        seconds = "kafka_consumergroup_group_lag_seconds"
        wait_for("lag", lambda: any(name == seconds for name, _ in sink.samples()))
        found = sink.samples()

    def told(name: str, label: str, partition: int) -> float:
        labels = {label: group, "topic": topic, "partition": str(partition)}
        return found.get((name, frozenset(labels.items())), math.nan)

    assert told("kafka_consumergroup_lag", "consumergroup", 1) == 1
    assert told("kafka_consumergroup_lag", "consumergroup", 2) == 0
    assert 500 <= told(seconds, "group", 1) < 1000
    assert told(seconds, "group", 2) == 0
