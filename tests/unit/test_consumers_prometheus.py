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
from tests.window_rows import window_rows

CAP = 1000
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
    collector = WindowCollector(clock, CAP)
    collector.add(window_rows([window()]))
    clock.now = EXPIRES.total_seconds()
    assert f"nilo_llm_calls_window_events{MODEL_1M}" in scraped(collector)
    clock.now += 1
    assert scraped(collector) == {}


def test_an_older_window_does_not_replace_a_newer_one_but_counts() -> None:
    collector = WindowCollector(Clock(), CAP)
    collector.add(window_rows([window(5, count=7), window(4, count=3)]))
    found = scraped(collector)
    assert found[f"nilo_llm_calls_window_events{MODEL_1M}"] == 7
    assert found[f"nilo_llm_calls_events_total{MODEL}"] == 10


def test_provisional_windows_are_shown_and_not_counted() -> None:
    collector = WindowCollector(Clock(), CAP)
    collector.add(window_rows([window(final=False)]))
    found = scraped(collector)
    assert found[f"nilo_llm_calls_window_events{MODEL_1M}"] == 10
    assert found[f"nilo_llm_calls_events_total{MODEL}"] == 0


def test_a_revision_adds_only_what_is_new_and_a_repeat_nothing() -> None:
    collector = WindowCollector(Clock(), CAP)
    collector.add(
        window_rows([window(), window(), window(revision=1, count=12, errors=4), window()])
    )
    found = scraped(collector)
    assert found[f"nilo_llm_calls_events_total{MODEL}"] == 12
    assert found[f"nilo_llm_calls_errors_total{MODEL}"] == 4


def test_only_the_shortest_window_is_counted_whatever_came_first() -> None:
    collector = WindowCollector(Clock(), CAP)
    collector.add(window_rows([window(length=5, count=50), window(count=10)]))
    assert scraped(collector)[f"nilo_llm_calls_events_total{MODEL}"] == 10


def test_values_that_a_window_has_not_are_not_shown() -> None:
    collector = WindowCollector(Clock(), CAP)
    collector.add(window_rows([window(sum=None, quantiles={"p50": 1.5}, unit="dollars")]))
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


# Sessions, by their first and last minute; the gap is five minutes

X_5M = "[('model', 'm'), ('window', 'session 5m')]"


def session(first: int, last: int, count: int, revision: int = 0, **more: Any) -> MetricWindow:
    end = START + timedelta(minutes=last + 5)
    usual: dict[str, Any] = {
        "window": "session 5m",
        "window_end": end,
        "count": count,
        "revision": revision,
    }
    return window(first, **(usual | more))


def counts(collector: WindowCollector) -> tuple[float | None, float]:
    """The number of events in the session that is shown, and in all."""
    found = scraped(collector)
    shown = found.get(f"nilo_llm_calls_window_events{X_5M}")
    return shown, found[f"nilo_llm_calls_events_total{MODEL}"]


def test_a_session_that_took_in_another_is_shown_instead_and_each_event_counted_once() -> None:
    collector = WindowCollector(Clock(), CAP)
    collector.add(window_rows([session(0, 1, 2), session(7, 9, 3)]))
    assert counts(collector) == (3, 5)
    collector.add(window_rows([session(0, 9, 6, 1), session(7, 9, 0, 1)]))
    assert counts(collector) == (6, 6)
    collector.add(window_rows([session(7, 9, 3)]))
    assert counts(collector) == (6, 6)


def test_a_withdrawn_session_is_shown_no_more_though_the_other_one_is_still_to_come() -> None:
    collector = WindowCollector(Clock(), CAP)
    collector.add(window_rows([session(7, 9, 3)]))
    assert counts(collector) == (3, 3)
    collector.add(window_rows([session(7, 9, 0, 1)]))
    assert counts(collector) == (None, 3)
    collector.add(window_rows([session(4, 9, 5, final=False)]))
    assert counts(collector) == (5, 3)
    collector.add(window_rows([session(4, 9, 5)]))
    assert counts(collector) == (5, 5)


def test_a_counter_never_falls_and_is_right_again_when_more_came() -> None:
    """The scrape between the two messages saw the events of minute 7 twice."""
    collector = WindowCollector(Clock(), CAP)
    collector.add(window_rows([session(0, 1, 2), session(7, 9, 3), session(0, 9, 6, 1)]))
    assert counts(collector) == (6, 9)
    collector.add(window_rows([session(7, 9, 0, 1)]))
    assert counts(collector) == (6, 9)
    collector.add(window_rows([session(20, 20, 4)]))
    assert counts(collector) == (4, 10)


def test_a_long_gap_is_remembered_until_no_session_can_be_joined() -> None:
    """Three sessions a little more than two hours apart; the first two become one."""
    gap = timedelta(hours=2)
    collector = WindowCollector(Clock(), CAP)

    def visit(first: int, last: int, count: int, revision: int = 0) -> MetricWindow:
        end = START + timedelta(minutes=last) + gap
        return session(first, last, count, revision, window="session 2h", window_end=end)

    collector.add(window_rows([visit(0, 0, 1), visit(121, 121, 1), visit(242, 242, 1)]))
    collector.add(window_rows([visit(0, 121, 3, 1), visit(121, 121, 0, 1)]))
    assert scraped(collector)[f"nilo_llm_calls_events_total{MODEL}"] == 4


def test_sessions_of_all_series_are_counted_however_long_they_are() -> None:
    collector = WindowCollector(Clock(), CAP)
    other = session(0, 9, 7, dimensions={"model": "n"})
    collector.add(window_rows([session(0, 1, 2), other]))
    found = scraped(collector)
    assert found[f"nilo_llm_calls_events_total{MODEL}"] == 2
    assert found["nilo_llm_calls_events_total[('model', 'n')]"] == 7


def test_of_windows_equally_long_only_tumbling_ones_are_counted() -> None:
    collector = WindowCollector(Clock(), CAP)
    hopping = window(length=5, window="5m/1m", count=50)
    collector.add(window_rows([session(0, 1, 3), hopping, window(length=5, count=10)]))
    found = scraped(collector)
    assert found[f"nilo_llm_calls_events_total{MODEL}"] == 10
    assert found["nilo_llm_calls_window_events[('model', 'm'), ('window', '5m/1m')]"] == 50


def test_where_all_windows_hop_those_side_by_side_are_counted() -> None:
    collector = WindowCollector(Clock(), CAP)
    collector.add(
        window_rows([window(minute, 5, window="5m/1m", count=minute) for minute in range(7)])
    )
    assert scraped(collector)[f"nilo_llm_calls_events_total{MODEL}"] == 0 + 5


def test_a_window_whose_name_means_nothing_is_shown() -> None:
    collector = WindowCollector(Clock(), CAP)
    collector.add(window_rows([window(window="fortnight")]))
    assert scraped(collector)[f"nilo_llm_calls_events_total{MODEL}"] == 10
