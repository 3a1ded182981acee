"""Windows of many days, and what `nilo tiers run` is to leave of them, decided the dumb way."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from nilo_consumers.batch import ORIGIN, Batch, Span
from nilo_schemas.results import MetricWindow
from nilo_schemas.settings import Settings
from tests.window_rows import window_rows

WINDOWS = MetricWindow.kafka_topic
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS = {
    "10s": 10, "1m": 60, "5m": 300, "5m/1m": 300, "15m": 900, "1h": 3600, "1d": 86_400,
    "2d": 172_800, "session 5m": 777, "a week": 604_800,
}  # fmt: skip
HOPS = SECONDS | {"5m/1m": 60}
# With the default of windows_keep.
DAYS = {
    "10s": 7, "1m": 7, "5m": 30, "5m/1m": 30, "15m": 90, "1h": 90, "1d": 365, "2d": 365,
    "session 5m": 365, "a week": 365,
}  # fmt: skip
# Nothing stands in for these.
ALONE = ("session 5m", "a week")


def window(text: str, start: datetime, metric: str = "m", **more: Any) -> MetricWindow:
    """A final window."""
    values: dict[str, Any] = {
        "metric": metric,
        "unit": "",
        "window": text,
        "window_start": start,
        "window_end": start + timedelta(seconds=SECONDS[text]),
        "dimensions": {"provider": "p", "model": "m"},
        "count": 10,
        "errors": 0,
        "rate": 1.0,
        "error_ratio": 0.0,
        "final": True,
        "revision": 0,
        "watermark": start,
        "sources": [],
    }
    return MetricWindow(**(values | more))


def grid(text: str, moment: datetime) -> datetime:
    """When the last window of this length began that holds a moment."""
    return moment - (moment - EPOCH) % timedelta(seconds=HOPS[text])


def a_day(
    day: date, lengths: Iterable[str], metric: str = "m", step: int = 6
) -> list[MetricWindow]:
    """The windows of these lengths that hold every so many hours of a day."""
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    moments = [begin + timedelta(hours=hours) for hours in range(0, 24, step)]
    return [
        window(text, start, metric)
        for text in lengths
        for start in sorted({grid(text, moment) for moment in moments})
        if start.date() == day
    ]


def random_windows(seed: int, today: date) -> list[MetricWindow]:
    """Of several metrics, series, lengths and days; some are missing, some have revisions."""
    chance = random.Random(seed)
    metrics = {
        "all": [*SECONDS],
        "usual": ["10s", "1m", "5m", "1h", "1d"],
        "alone": ["1m"],
        "two": ["10s", "1m"],
        "hopping": ["10s", "5m/1m", "session 5m"],
        "it's \\odd": ["1m", "15m"],
    }
    found: dict[Any, MetricWindow] = {}
    for age in (0, 3, 7, 8, 29, 30, 31, 89, 90, 91, 92, 364, 365, 366, 367, 500):
        begin = datetime.combine(today - timedelta(days=age), datetime.min.time(), UTC)
        for metric, lengths in metrics.items():
            lost = chance.random() < 0.3
            for model in ("a", "b", 'c "x"'):
                for _ in range(3):
                    moment = begin + timedelta(seconds=chance.randrange(86_400))
                    for text in lengths:
                        start = grid(text, moment)
                        for revision in range(chance.choice([1, 1, 2])):
                            key = metric, text, start, model, revision
                            if not (lost and chance.random() < 0.2):
                                found[key] = window(
                                    text, start, metric, dimensions={"model": model},
                                    revision=revision,
                                )  # fmt: skip
    windows = list(found.values())
    chance.shuffle(windows)
    return windows


def staying(windows: Sequence[MetricWindow], today: date) -> list[MetricWindow]:
    """What the default of windows_keep leaves: a look at each window, longest first."""
    kept: dict[Any, list[MetricWindow]] = {}
    for each in windows:
        kept.setdefault((each.window, each.window_start.date(), each.metric), []).append(each)
    for text in sorted(SECONDS, key=lambda text: (text in ALONE, SECONDS[text]), reverse=True):
        for key in [key for key in kept if key[0] == text]:
            age = (today - key[1]).days
            if age > 365 or (age > DAYS[text] and stood_in(kept, *key)):
                del kept[key]
    return [each for some in kept.values() for each in some]


def stood_in(kept: dict[Any, list[MetricWindow]], text: str, day: date, metric: str) -> bool:
    """Whether windows of one longer length hold the beginnings of all of these."""
    some = kept[text, day, metric]
    for longer in SECONDS.keys() - set(ALONE):
        if text not in ALONE and SECONDS[longer] > SECONDS[text]:
            there = {
                (each.window_start, str(each.dimensions))
                for (other, _, whose), windows in kept.items()
                if (other, whose) == (longer, metric)
                for each in windows
            }
            if all(
                (grid(longer, each.window_start), str(each.dimensions)) in there for each in some
            ):
                return True
    return False


def windows_batch(settings: Settings, windows: Sequence[MetricWindow], start: int = 0) -> Batch:
    """Windows with the offsets from `start` of two partitions, as a sink is given them.

    What lies before is no row, or is stored already.
    """
    origin = [[n % 2 for n in range(len(windows))], [start + n // 2 for n in range(len(windows))]]
    rows = window_rows(windows)
    for field, values in zip(ORIGIN, origin, strict=True):
        rows = rows.append_column(field, pa.array(values, field.type))
    ends = {partition: start + (len(windows) + 1 - partition) // 2 for partition in (0, 1)}
    spans = {partition: Span(0, end) for partition, end in ends.items() if end > start}
    return Batch(settings.topic_prefix + WINDOWS, rows, spans)
