"""Counters and histograms of the window collector against a plain count of the same events."""

from __future__ import annotations

import math
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.samples import NativeHistogram

from nilo_consumers import tally
from nilo_consumers.exposed import SCALE, Distribution
from nilo_consumers.series import WindowCollector
from nilo_schemas.results import Histogram, MetricWindow
from tests.window_rows import window_rows

CAP = 1000
START = datetime(2026, 1, 1, tzinfo=UTC)
Values = list[float]


def bucket(value: float, scale: int) -> int:
    return math.ceil(math.log2(value) * (1 << scale)) - 1


def window(number: int, values: Values, scale: int = 5, **more: object) -> MetricWindow:
    begin = START + timedelta(seconds=10 * number)
    buckets = Counter(bucket(value, scale) for value in values if value > 0)
    histogram = Histogram(
        scale=scale,
        zero=values.count(0),
        negative=sum(value < 0 for value in values),
        indexes=sorted(buckets),
        counts=[buckets[index] for index in sorted(buckets)],
    )
    usual = {
        "metric": "m", "unit": "seconds", "window": "10s", "window_start": begin,
        "window_end": begin + timedelta(seconds=10), "dimensions": {"model": "a"},
        "count": len(values), "errors": 0, "rate": 0.1, "error_ratio": 0.0, "final": True,
        "revision": 0, "watermark": begin, "sources": [], "sum": sum(values),
        "histogram": histogram,
    }  # fmt: skip
    return MetricWindow.model_validate(usual | more)


def collected(collector: WindowCollector) -> dict[str, Metric]:
    registry = CollectorRegistry()
    registry.register(collector)
    return {family.name: family for family in registry.collect()}


def distribution(collector: WindowCollector) -> Distribution:
    family = collected(collector)["nilo_m_distribution_seconds"]
    assert isinstance(family, Distribution)
    return family


def classic(family: Metric, model: str = "a") -> dict[float, float]:
    return {
        float(sample.labels["le"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_bucket") and sample.labels["model"] == model
    }


def native(histogram: NativeHistogram) -> dict[int, int]:
    """Counts by Prometheus' own bucket numbers: bucket n holds (base**(n-1), base**n]."""
    found, number, count = {}, 0, 0
    deltas = iter(histogram.pos_deltas or [])
    for span in histogram.pos_spans or []:
        number += span.offset
        for _ in range(span.length):
            count += next(deltas)
            found[number] = count
            number += 1
    return found


@pytest.mark.parametrize("seed", range(5))
def test_buckets_hold_each_event_of_the_newest_revisions_once(seed: int) -> None:
    """Windows in any order, revised, sent again, and cut into batches anywhere."""
    rng = random.Random(seed)
    kept: dict[tuple[str, int], Values] = {}
    sent = []
    for number in range(60):
        for model in "ab":
            values = [rng.lognormvariate(0, 2) for _ in range(rng.randint(1, 9))]
            for revision in range(rng.randint(1, 3)):
                values = [*values, rng.lognormvariate(0, 2)]
                labels = {"model": model}
                sent.append(window(number, values, dimensions=labels, revision=revision))
            kept[model, number] = values
    sent += rng.sample(sent, 50)
    rng.shuffle(sent)
    collector = WindowCollector(lambda: 0.0, CAP)
    while sent:
        size = rng.randint(1, 40)
        collector.add(window_rows(sent[:size]))
        sent = sent[size:]

    family = distribution(collector)
    for model in "ab":
        values = [each for (name, _), held in kept.items() if name == model for each in held]
        found = classic(family, model)
        assert found.pop(math.inf) == len(values)
        assert found == {bound: sum(each <= bound for each in values) for bound in found}
        assert len(found) > 5
        histogram = next(each.native for each in family.series if each.labels["model"] == model)
        assert histogram is not None
        assert native(histogram) == Counter(bucket(each, SCALE) + 1 for each in values)
        assert histogram.sum_value == pytest.approx(sum(values))
        assert histogram.count_value == len(values)


def test_buckets_stay_when_their_windows_can_be_revised_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tally, "_MOST_TABLES", 5)
    collector = WindowCollector(lambda: 0.0, CAP)
    for first in range(0, 2000, 100):  # five and a half hours
        numbers = range(first, first + 100, 4)
        collector.add(window_rows([window(number, [1.5, 3.0]) for number in numbers]))
        collector.add(window_rows([window(number, [1.5, 3.0]) for number in numbers]))
    late = window(0, [1.5, 3.0, 9.0], revision=1)
    collector.add(window_rows([late]))

    assert classic(distribution(collector)) == {0: 0, 1: 0, 2: 500, 4: 1000, math.inf: 1000}


def test_zeros_and_values_below_are_in_the_lowest_bucket_and_make_no_native_histogram() -> None:
    collector = WindowCollector(lambda: 0.0, CAP)
    collector.add(window_rows([window(0, [-1.0, 0.0, 0.0, 1.0])]))
    family = distribution(collector)

    assert classic(family) == {0: 3, 0.5: 3, 1: 4, math.inf: 4}
    assert family.series[0].native is None


@pytest.mark.parametrize("scale", [0, 1, 3, 8])
def test_classic_bounds_are_exact_at_every_scale_of_the_catalogue(scale: int) -> None:
    collector = WindowCollector(lambda: 0.0, CAP)
    collector.add(window_rows([window(0, [0.3, 1.0, 1.5, 2.0, 7.0], scale)]))

    expected = {0: 0, 0.25: 0, 0.5: 1, 1: 2, 2: 4, 4: 4, 8: 5, math.inf: 5}
    assert classic(distribution(collector)) == expected


def test_a_metric_shows_so_many_series_and_counts_the_windows_of_the_others() -> None:
    clock = [0.0]
    collector = WindowCollector(lambda: clock[0], cap=3)
    windows = [window(0, [1.0], dimensions={"model": str(number)}) for number in range(5)]
    collector.add(window_rows([*windows, *windows]))
    other = window(0, [1.0], metric="n")
    collector.add(window_rows([other]))

    found = collected(collector)
    assert len(found["nilo_m_window_events"].samples) == 3
    assert len(found["nilo_n_window_events"].samples) == 1
    (capped,) = found["nilo_capped_windows"].samples
    assert (capped.name, capped.labels, capped.value) == (
        "nilo_capped_windows_total", {"metric": "m"}, 4,
    )  # fmt: skip

    clock[0] = 1000.0
    collector.add(window_rows([windows[4]]))
    assert collected(collector)["nilo_m_events"].samples[0].labels == {"model": "4"}


def test_the_order_of_dimensions_makes_no_other_series() -> None:
    collector = WindowCollector(lambda: 0.0, CAP)
    one = window(0, [1.0], dimensions={"a": "1", "b": "2"})
    other = window(1, [1.0], dimensions={"b": "2", "a": "1"})
    collector.add(window_rows([one]))
    collector.add(window_rows([other]))
    assert [sample.value for sample in collected(collector)["nilo_m_events"].samples] == [2]
