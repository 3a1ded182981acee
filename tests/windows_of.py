"""Final windows made by hand, for rules to look at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from nilo_schemas.arrow import arrow_schema
from nilo_schemas.catalogue import Catalogue, Metric
from nilo_schemas.results import MetricWindow
from nilo_schemas.rules import Rule
from nilo_schemas.windows import parse_window

START = datetime(2026, 11, 2, tzinfo=UTC)  # a Monday
MINUTE = timedelta(minutes=1)
CALLS = {
    "description": "Calls",
    "owner": "o",
    "event": "events.llm",
    "value": "duration",
    "unit": "seconds",
    "error_when": {"status": "ERROR"},
    "dimensions": ["model"],
    "windows": ["1m"],
    "rollups": [],
    "aggregates": ["count", "errors", "sum", "mean", "quantiles"],
}


def microseconds(time: datetime) -> int:
    """Since 1970."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def catalogue(
    *rules: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]] | None = None
) -> Catalogue:
    """A catalogue of the metric `calls`, or of these, with rules; each rule is of `calls`."""
    named = {
        name: Metric.model_validate({**CALLS, **each})
        for name, each in (metrics or {"calls": {}}).items()
    }
    made = [
        Rule.model_validate({"name": "Rule", "metric": "calls", "severity": "warning", **rule})
        for rule in rules
    ]
    return Catalogue(metrics=named, rules={rule.name: rule for rule in made})


def window(number: int, labels: Mapping[str, str] | None = None, **values: Any) -> MetricWindow:
    """The window of a minute, the first one from START on; each lies at an offset of its own."""
    length = parse_window(values.get("window", "1m")).length
    start = START + number * length
    count = values.pop("count", 10)
    plain = {
        "metric": "calls",
        "unit": "seconds",
        "window": "1m",
        "window_start": start,
        "window_end": start + length,
        "dimensions": labels if labels is not None else {"model": "atlas"},
        "count": count,
        "errors": 0,
        "rate": count / length.total_seconds(),
        "error_ratio": values.get("errors", 0) / count if count else 0.0,
        "final": True,
        "revision": 0,
        "watermark": start + length,
        "sources": [
            {
                "topic": "events.llm",
                "partition": 0,
                "first_offset": 100 * number,
                "last_offset": 100 * number + 99,
            }
        ],
    }
    return MetricWindow.model_validate({**plain, **values})


def batch(windows: list[MetricWindow]) -> pa.RecordBatch:
    """Windows as the Arrow batch that the processors make."""
    return pa.RecordBatch.from_pylist(
        [each.model_dump() for each in windows], schema=arrow_schema(MetricWindow)
    )
