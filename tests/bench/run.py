"""Small measurements of the hot paths, without a broker: `make bench`, or with `ARGS=--json`.

All that is compared runs in the same call, in turns, and the median of the rounds counts. Rates of
one machine say little; the ratios say more.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from nilo_producers import simulate
from nilo_schemas.batch import BatchDecoder
from nilo_schemas.catalogue import Metric
from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.codec import decode, encode
from nilo_schemas.contracts import contract
from nilo_schemas.families import LlmEvent
from nilo_stream_processors.engine.plan import plan
from nilo_stream_processors.engine.source import Bounds, SourceState, aggregate, source_state
from tests.bench.commit import commit_costs

SCHEMA_ID = 1
ROUNDS = 3
RATE = 2_000  # events per second of event time, as in `nilo demo`
CHUNK = 10_000  # events of one fetch
SERIES_CAP = 10_000
LENIENT = Bounds(disorder=2_000_000, grace=600_000_000, future=2**62)
LIBRARIES = ("confluent-kafka", "fastavro", "numpy", "pyarrow", "pydantic", "pyruhvro")


def main() -> None:
    """Measure, and print figures and ratios."""
    parser = argparse.ArgumentParser(description="measure the hot paths without a broker")
    parser.add_argument("--events", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    report = measure(options.events)
    print(json.dumps(report) if options.json else as_text(report))


def measure(count: int) -> dict[str, Any]:
    """All measurements over `count` simulated calls of models."""
    # The fleet is slow at night: twice the time has events enough.
    fleet = simulate(1, RATE, 2 * count / RATE, datetime(2026, 1, 1, tzinfo=UTC))
    events = list(islice(fleet, count))
    values = [encode(event, SCHEMA_ID) for event in events]
    figures = {
        "events": len(events),
        "bytes_per_event": round(sum(map(len, values)) / len(values)),
        **_encoding(events),
        **_rates(values),
    }
    return {
        "bench": "hot paths",
        "ratios": _ratios(figures),
        "figures": figures,
        "versions": {"python": platform.python_version()} | {n: version(n) for n in LIBRARIES},
    }


def as_text(report: dict[str, Any]) -> str:
    """The report as lines for people."""
    lines = [f"{name:<42} {value:>14,}" for name, value in report["figures"].items()]
    lines += [f"{one['name']:<42} {one['value']:>14}" for one in report["ratios"]]
    lines.append(" ".join(f"{name} {number}" for name, number in report["versions"].items()))
    return "\n".join(lines)


def _encoding(events: list[LlmEvent]) -> dict[str, float]:
    """Microseconds per event, p50: of an event that is there, and of one made for it."""
    ready, made = [], []
    for event in events[:CHUNK]:
        fields = event.model_dump()
        begin = time.perf_counter_ns()
        encode(event, SCHEMA_ID)
        middle = time.perf_counter_ns()
        encode(LlmEvent(**fields), SCHEMA_ID)
        ready.append(middle - begin)
        made.append(time.perf_counter_ns() - middle)
    return {
        "encode_p50_us": round(statistics.median(ready) / 1000, 1),
        "make_and_encode_p50_us": round(statistics.median(made) / 1000, 1),
    }


def _rates(values: list[bytes]) -> dict[str, float]:
    """Events per second of each way, in turns; and what a commit costs, with many series."""
    schema = contract(LlmEvent)
    decoder = BatchDecoder(LlmEvent, lambda _: schema)
    chunks = [values[i : i + CHUNK] for i in range(0, len(values), CHUNK)]
    batches = [decoder.decode(chunk).rows for chunk in chunks]
    metrics = load_catalogue().of_event(LlmEvent.kafka_topic)
    ways: dict[str, Callable[[], object]] = {
        "decode_one_by_one": lambda: [decode(v, LlmEvent, lambda _: schema) for v in values],
        "decode_batches": lambda: [decoder.decode(chunk) for chunk in chunks],
        "group_by_batches": lambda: [_group_by(batch) for batch in batches],
        "engine_one_metric": lambda: _engine(batches, {"llm.duration": metrics["llm.duration"]}),
        "engine_all_metrics": lambda: _engine(batches, metrics),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begin)
    rates = {
        f"{name}_per_s": round(len(values) / statistics.median(taken))
        for name, taken in seconds.items()
    }
    one = metrics["llm.duration"]
    wide = {"llm.duration": one.model_copy(update={"dimensions": [*one.dimensions, "session_id"]})}
    return rates | commit_costs(lambda: _engine(batches, wide), wide, ROUNDS)


def _group_by(batch: pa.RecordBatch) -> pa.Table:
    """The least that could be done: sum and count by model, without windows or histograms."""
    table = pa.table({name: batch.column(name) for name in ("model", "input_tokens")})
    return table.group_by("model").aggregate([("input_tokens", "sum"), ("input_tokens", "count")])


def _engine(batches: list[pa.RecordBatch], metrics: dict[str, Metric]) -> SourceState:
    state, offset = source_state(plan(metrics, SERIES_CAP)), 0
    for batch in batches:
        offsets = np.arange(offset, offset + batch.num_rows, dtype=np.int64)
        aggregate(state, batch, offsets, np.zeros(len(offsets), np.int64), LENIENT)
        offset += batch.num_rows
    return state


def _ratios(figures: dict[str, Any]) -> list[dict[str, Any]]:
    pairs = {
        "batch decoding over one by one": ("decode_batches_per_s", "decode_one_by_one_per_s"),
        "engine, one metric, over batch decoding": (
            "engine_one_metric_per_s",
            "decode_batches_per_s",
        ),
        "engine, all metrics, over batch decoding": (
            "engine_all_metrics_per_s",
            "decode_batches_per_s",
        ),
        "engine, one metric, over a bare group_by": (
            "engine_one_metric_per_s",
            "group_by_batches_per_s",
        ),
    }
    return [
        {"name": name, "value": round(figures[upper] / figures[lower], 2)}
        for name, (upper, lower) in pairs.items()
    ]


if __name__ == "__main__":
    main()
