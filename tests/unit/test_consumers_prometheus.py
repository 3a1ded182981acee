"""Names, labels, expiry and counters of the window collector."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from nilo_consumers.errors import AddressTakenError
from nilo_consumers.metrics import SinkMetrics
from nilo_consumers.names import label_name, labels_of, metric_name
from nilo_consumers.series import EXPIRES, WindowCollector
from nilo_consumers.server import serving
from nilo_schemas.results import MetricWindow

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def window(minute: int = 0, length: int = 1, **more: Any) -> MetricWindow:
    begin = START + timedelta(minutes=minute)
    values: dict[str, Any] = {
        "metric": "llm.calls", "unit": "", "window": f"{length}m", "window_start": begin,
        "window_end": begin + timedelta(minutes=length), "dimensions": {"model": "m"}, "count": 10,
        "errors": 1, "rate": 0.1, "error_ratio": 0.1, "final": True, "revision": 0,
        "watermark": begin, "sources": [],
    }  # fmt: skip
    return MetricWindow(**(values | more))


def scraped(collector: WindowCollector) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(collector)
    text = generate_latest(registry).decode()
    return {
        sample.name + str(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


MODEL = "[('model', 'm')]"
MODEL_1M = "[('model', 'm'), ('window', '1m')]"


def test_names_have_the_unit_at_the_end_and_no_foreign_character() -> None:
    assert metric_name("llm.duration", "p95", "seconds") == "nilo_llm_duration_p95_seconds"
    assert metric_name("a-b.c", "count") == "nilo_a_b_c_count"


@pytest.mark.parametrize(
    ("dimension", "label"),
    [("model", "model"), ("window", "dim_window"), ("a.b", "a_b"), ("1st", "dim_1st"),
     ("__name__", "dim___name__"), ("", "dim_"), ("ü", "_")],
)  # fmt: skip
def test_labels_are_what_prometheus_accepts(dimension: str, label: str) -> None:
    assert label_name(dimension) == label


def test_two_dimensions_never_share_a_label() -> None:
    assert labels_of({"a.b": "1", "a_b": "2"}) == {"a_b": "1", "a_b_": "2"}


def test_a_series_that_nothing_updates_goes() -> None:
    clock = Clock()
    collector = WindowCollector(clock)
    collector.add([window()])
    clock.now = EXPIRES.total_seconds()
    assert f"nilo_llm_calls_count{MODEL_1M}" in scraped(collector)
    clock.now += 1
    assert scraped(collector) == {}


def test_an_older_window_does_not_replace_a_newer_one_but_counts() -> None:
    collector = WindowCollector(Clock())
    collector.add([window(5, count=7), window(4, count=3)])
    found = scraped(collector)
    assert found[f"nilo_llm_calls_count{MODEL_1M}"] == 7
    assert found[f"nilo_llm_calls_events_total{MODEL}"] == 10


def test_provisional_windows_are_shown_and_not_counted() -> None:
    collector = WindowCollector(Clock())
    collector.add([window(final=False)])
    found = scraped(collector)
    assert found[f"nilo_llm_calls_count{MODEL_1M}"] == 10
    assert found[f"nilo_llm_calls_events_total{MODEL}"] == 0


def test_a_revision_adds_only_what_is_new_and_a_repeat_nothing() -> None:
    collector = WindowCollector(Clock())
    collector.add([window(), window(), window(revision=1, count=12, errors=4), window()])
    found = scraped(collector)
    assert found[f"nilo_llm_calls_events_total{MODEL}"] == 12
    assert found[f"nilo_llm_calls_errors_total{MODEL}"] == 4


def test_only_the_shortest_window_is_counted_whatever_came_first() -> None:
    collector = WindowCollector(Clock())
    collector.add([window(length=5, count=50), window(count=10)])
    assert scraped(collector)[f"nilo_llm_calls_events_total{MODEL}"] == 10


def test_values_that_a_window_has_not_are_not_shown() -> None:
    collector = WindowCollector(Clock())
    collector.add([window(sum=None, quantiles={"p50": 1.5}, unit="dollars")])
    found = scraped(collector)
    assert found[f"nilo_llm_calls_p50_dollars{MODEL_1M}"] == 1.5
    assert not [name for name in found if "_sum_" in name]


def test_a_taken_port_is_one_clear_line() -> None:
    metrics = SinkMetrics("postgres", "group")
    with serving(metrics, "127.0.0.1", 0) as url:
        port = int(url.rsplit(":", 1)[1])
        with (
            pytest.raises(AddressTakenError, match=f"127.0.0.1:{port}"),
            serving(metrics, "127.0.0.1", port),
        ):
            pass
