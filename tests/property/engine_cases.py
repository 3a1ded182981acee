"""Cases for the engine: streams of events, metrics of every kind, and how they are run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from nilo_schemas.catalogue import Metric
from tests.property.reference import Source
from tests.rows import LLM, SECOND, START

NEVER = 10**15
TRADE = "events.trade"
_ALL = ["count", "errors", "sum", "min", "max", "mean", "rate", "quantiles"]


@dataclass(frozen=True)
class Case:
    """A stream, what is measured, and the settings of the engine (microseconds)."""

    events: dict[Source, list[dict[str, Any]]]
    metrics: dict[str, Metric]
    rules: dict[str, int]


def _metric(**values: Any) -> Metric:
    usual = {"description": "d", "owner": "o", "event": LLM, "aggregates": _ALL}
    metric = Metric.model_validate(usual | values)
    assert list(metric.problems()) == []
    return metric


_CALL: dict[str, Any] = {"where": {"type": "llm.call"}, "error_when": {"status": "ERROR"}}
_DURATION: dict[str, Any] = {"value": "duration", "unit": "seconds"}
METRICS = {
    "calls": _metric(
        **_CALL,
        dimensions=["provider", "model"],
        windows=["10s", "1m"],
        rollups=["2m", "5m"],
        aggregates=["count", "errors", "rate"],
    ),
    "duration": _metric(
        **_CALL,
        **_DURATION,
        dimensions=["provider", "model"],
        windows=["10s", "1m"],
        rollups=["2m"],
    ),
    "first": _metric(
        where={"time_to_first_token": {"present": True}},
        value="time_to_first_token",
        unit="seconds",
        dimensions=["model"],
        windows=["10s"],
        histogram_scale=8,
        quantiles=[0.0, 0.25, 0.5, 0.75, 1.0],
    ),
    "hopping": _metric(
        **_CALL, value="input_tokens", dimensions=["model"], windows=["30s/10s", "40s/20s"]
    ),
    "twins": _metric(
        **_CALL, **_DURATION, dimensions=["provider"], windows=["40s/20s", "40s", "1m"], rollups=[]
    ),
    "session": _metric(
        **_DURATION,
        dimensions=["session_id"],
        windows=["session 20s"],
        max_series=1_000,  # the reference knows no cap of sessions
        aggregates=[*_ALL, "distinct"],
        distinct="model",
    ),
    "users": _metric(windows=["10s"], aggregates=["count", "distinct"], distinct="session_id"),
    "cost": _metric(
        **_CALL,
        value="cost",
        unit="dollars",
        dimensions=["model", "attributes.tenant"],
        windows=["20s"],
        max_series=2,
    ),
    "mixed": _metric(
        where={"status": {"not": ["OK", "FALLBACK"]}},
        **_DURATION,
        windows=["session 5s", "15s", "1m", "50s/10s", "session 1m"],
        rollups=["3m"],
        aggregates=[*_ALL, "distinct"],
        distinct="attributes.tenant",
    ),
    "gate": _metric(
        event=TRADE,
        error_when={"gate_passed": False},
        value="gate_value",
        dimensions=["gate_passed", "symbol"],
        windows=["10s"],
    ),
    "delay": _metric(
        event=TRADE, value="decision_time - time", unit="seconds", windows=["10s", "session 10s"]
    ),
}

# Times crowd around the edges of windows, where one microsecond decides.
_times = st.one_of(
    st.integers(0, 300 * SECOND),
    st.integers(0, 300).map(lambda second: second * SECOND),
    st.builds(lambda n, off: max(n * 10 * SECOND + off, 0), st.integers(0, 30), st.integers(-1, 1)),
)
_durations = st.none() | st.integers(0, 10**7) | st.sampled_from([0, 1, 2**53, 2**53 - 1])
_weights = st.sampled_from([1, 1, 1, 2, 3, 1000, 2**31 - 1])
# How far the Kafka timestamp (milliseconds) stands before the event time.
_ahead = st.sampled_from([0] * 12 + [-50, 3_599_999, 3_600_000, 3_600_001, 10**8])
_models = st.sampled_from([None, "a", "b", "c", "d"])
_usual = {"at": _times, "ahead": _ahead, "gap": st.integers(1, 3), "sample_rate": _weights}
_llm = st.fixed_dictionaries(
    _usual
    | {
        "type": st.sampled_from(["llm.call", "llm.call", "llm.stream"]),
        "provider": st.sampled_from([None, "p", "q"]),
        "model": _models,
        "status": st.sampled_from(["OK", "ERROR", "RETRIED", "FALLBACK"]),
        "duration": _durations,
        "time_to_first_token": _durations,
        "input_tokens": st.none() | st.integers(0, 2**53),
        "cost": st.none() | st.integers(0, 10**10) | st.just(9 * 10**18),
        "session_id": _models,
        "attributes": st.sampled_from([{}, {"tenant": "t"}, {"tenant": "u", "x": "y"}]),
    }
)
_trade = st.fixed_dictionaries(
    _usual
    | {
        "type": st.just("trade.gate"),
        "symbol": _models,
        "gate_passed": st.sampled_from([None, True, False]),
        "gate_value": st.none() | st.floats(-1e13, 1e13) | st.floats(-2, 2),
        "wait": st.none() | st.integers(-5 * SECOND, 10**9),
    }
)
_names = st.lists(st.sampled_from(sorted(METRICS)), min_size=1, max_size=4, unique=True)
_rules = st.fixed_dictionaries(
    {
        "bound": st.sampled_from([0, 2 * SECOND, 100 * SECOND]),
        "grace": st.sampled_from([0, 5 * SECOND, 60 * SECOND, NEVER]),
        "series_cap": st.sampled_from([1, 2, 3, 10_000]),
        "future_bound": st.just(3600 * SECOND),
    }
)


@st.composite
def cases(draw: st.DrawFn, most: int = 50) -> Case:
    """A case with up to `most` events of each family in 1 to 8 partitions."""
    metrics = {name: METRICS[name] for name in draw(_names)}
    topics = sorted({metric.event for metric in metrics.values()})
    partitions = draw(st.sampled_from([1, 1, 2, 3, 5, 8]))
    events: dict[Source, list[dict[str, Any]]] = {}
    for topic in topics:
        # Left to itself, hypothesis draws short lists, in which little happens.
        least = draw(st.sampled_from([0, most // 4, most // 2, most]))
        rows = draw(st.lists(_llm if topic == LLM else _trade, min_size=least, max_size=most))
        if draw(st.booleans()):  # mostly in order, as streams are
            rows.sort(key=lambda row: row["at"] // (20 * SECOND))
        numbers = draw(st.lists(st.integers(0, partitions - 1), min_size=len(rows)))
        spread = defaultdict(list)
        for row, number in zip(rows, numbers, strict=False):
            spread[number].append(row)
        events |= {(topic, number): events_of(spread[number]) for number in range(partitions)}
    return Case(events, metrics, draw(_rules))


def events_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one partition with offsets (some are missing), times and timestamps."""
    found, offset = [], -1
    for row in rows:
        offset += row["gap"]
        time = START + row["at"]
        event = row | {"offset": offset, "time": time, "timestamp": time // 1000 - row["ahead"]}
        if row.get("wait") is not None:
            event["decision_time"] = time + row["wait"]
        found.append(event)
    return found
