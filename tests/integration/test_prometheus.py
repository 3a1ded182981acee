"""The Prometheus sink: what a scrape shows is what the windows say."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.integration.programs import wait_for
from tests.integration.sinking import Running, get, send, sinking

pytestmark = [
    pytest.mark.integration,
    pytest.mark.topics("metrics.windows", "alerts", "alerts.state", "alerts.silences"),
]
START = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = {"provider": "p", "model": 'a "b"\\\n'}


def window(length: str = "1m", minute: int = 0, **more: Any) -> MetricWindow:
    seconds = {"10s": 10, "1m": 60}[length]
    begin = START + timedelta(minutes=minute)
    values: dict[str, Any] = {
        "metric": "llm.duration", "unit": "seconds", "window": length, "window_start": begin,
        "window_end": begin + timedelta(seconds=seconds), "dimensions": LABELS, "count": 10,
        "errors": 2, "sum": 5.0, "min": 0.1, "max": 2.5, "mean": 0.5, "rate": 0.25,
        "error_ratio": 0.2, "quantiles": {"p95": 2.25}, "final": True, "revision": 0,
        "watermark": begin, "sources": [],
    }  # fmt: skip
    return MetricWindow(**(values | more))


def value(sink: Running, name: str, **labels: str) -> float | None:
    return sink.samples().get((name, frozenset((LABELS | labels).items())))


def test_a_scrape_shows_the_newest_window_and_counts_events_once(settings: Settings) -> None:
    name = "nilo_llm_duration"
    revised = window("10s", revision=1, count=12, errors=3)
    send(settings, [window("10s"), window("10s"), revised, window("1m", count=99)], partition=0)
    with sinking("prometheus", settings) as sink:
        wait_for("four windows", lambda: sink.total("nilo_stored_events_total") == 4)

        expected = {
            "p95_seconds": 2.25, "mean_seconds": 0.5, "min_seconds": 0.1, "max_seconds": 2.5,
            "sum_seconds": 5.0, "window_events": 99, "window_errors": 2, "rate": 0.25,
            "error_ratio": 0.2,
        }  # fmt: skip
        found = {key: value(sink, f"{name}_{key}", window="1m") for key in expected}
        assert found == expected
        assert value(sink, f"{name}_window_events", window="10s") == 12
        assert value(sink, f"{name}_events_total") == 12
        assert value(sink, f"{name}_errors_total") == 3

        late = [window("10s", minute=5, final=False, count=7), window("10s", minute=4, count=5)]
        send(settings, late, partition=0)
        wait_for("two more", lambda: sink.total("nilo_stored_events_total") == 6)
        assert value(sink, f"{name}_window_events", window="10s") == 7
        assert value(sink, f"{name}_events_total") == 17


def test_health_is_good_while_it_runs_and_other_paths_are_not_there(settings: Settings) -> None:
    with sinking("prometheus", settings) as sink:
        status, body = get(f"{sink.url}/health")
        assert (status, json.loads(body)) == (200, {"ok": True, "reason": None})
        assert get(f"{sink.url}/other")[0] == 404
