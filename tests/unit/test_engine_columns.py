"""Which fields of an event metrics read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from nilo_stream_processors.engine.columns import fields_of
from nilo_stream_processors.engine.partials import to_arrow
from nilo_stream_processors.engine.plan import plan
from nilo_stream_processors.engine.source import Bounds, aggregate, changes, source_state
from tests.rows import LLM, batch_of, call, measured

METRICS = {
    "m": measured(
        where={
            "type": "llm.call",
            "model": {"differs_from": "fallback_from"},
            "attributes.tier": {"present": True},
        },
        dimensions=["provider", "attributes.region"],
        distinct="session_id",
        aggregates=["count", "errors", "sum", "distinct"],
    ),
    "n": measured(where={"severity": {"not": "DEBUG"}}, value="cost", unit="dollars"),
}
FIELDS = {
    "time", "sample_rate", "type", "model", "fallback_from", "attributes", "severity", "provider",
    "session_id", "status", "duration", "cost",
}  # fmt: skip


def counted(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    state, zeros = source_state(plan(METRICS, 100)), np.zeros(batch.num_rows, np.int64)
    offsets = np.arange(batch.num_rows, dtype=np.int64)
    refused = aggregate(state, batch, offsets, zeros, Bounds(0, 0, 2**62))
    assert len(refused.late) + len(refused.future) == 0
    rows: list[dict[str, Any]] = to_arrow(changes(state, (LLM, 0))).to_pylist()
    return rows


def test_without_all_other_fields_metrics_hold_the_same() -> None:
    more: dict[str, Any] = {
        "fallback_from": "b",
        "attributes": {"tier": "1", "region": "eu"},
        "session_id": "s",
    }
    rows = batch_of(LLM, [call(1, cost=5, **more), call(2, status="ERROR", **more), call(3)])

    assert fields_of(METRICS.values()) == FIELDS
    assert counted(rows.select(sorted(FIELDS))) == counted(rows)
    assert len(counted(rows)) == 2
