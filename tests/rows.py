"""Rows of calls of models, and a metric of them, as the engine's tests feed them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from nilo_schemas.arrow import arrow_schema
from nilo_schemas.catalogue import Metric
from nilo_schemas.families import families

SECOND = 1_000_000
START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * SECOND
LLM = "events.llm"
Row = dict[str, Any]


def measured(**values: Any) -> Metric:
    """A metric of the duration of calls by model, in windows of ten seconds."""
    usual = {
        "description": "d",
        "owner": "o",
        "event": LLM,
        "where": {"type": "llm.call"},
        "error_when": {"status": "ERROR"},
        "value": "duration",
        "unit": "seconds",
        "dimensions": ["model"],
        "windows": ["10s"],
        "aggregates": ["count", "errors", "sum", "min", "max", "mean", "rate", "quantiles"],
    }
    metric = Metric.model_validate(usual | values)
    assert list(metric.problems()) == []
    return metric


def call(at: float, model: str | None = "a", **more: Any) -> Row:
    """An event `at` so many seconds after START; `offset` and `timestamp` (ms) are its record's."""
    row = {"type": "llm.call", "model": model, "provider": "p", "duration": 1000}
    return {**row, "sample_rate": 1, "time": START + round(at * SECOND), **more}


def batch_of(topic: str, rows: Sequence[Row]) -> pa.RecordBatch:
    """An Arrow batch as the decoder makes it."""
    needed: Row = {"id": "i", "source": "s", "severity": "INFO", "attributes": {}, "status": "OK"}
    full = [needed | row for row in rows]
    for row in full:
        row["attributes"] = list(row["attributes"].items())
    return pa.RecordBatch.from_pylist(full, arrow_schema(families()[topic]))
