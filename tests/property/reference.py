"""What the windows must be: a loop over events in plain Python, slow and simple on purpose.

It shares no code with the engine. Times and lengths are microseconds. An event is a dict of its
Avro values (a duration in microseconds, money in nano-dollars), with `offset`, `time` in
microseconds and `timestamp`, that of its Kafka record, in milliseconds; a missing key is a null.

One rule of the engine is left out: a cap on the series of session windows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import groupby
from typing import Any

from nilo_schemas.catalogue import Condition, Metric, field_kind
from nilo_schemas.windows import Window

Event = Mapping[str, Any]
Source = tuple[str, int]
Events = Mapping[Source, Sequence[Event]]
Series = tuple[str, ...]
Key = tuple[str, str, int, int, Series]
OTHER = "__other__"
LARGEST_FLOAT = 9e12


@dataclass(frozen=True)
class Rules:
    """What the engine is set to; microseconds but for `series_cap`."""

    bound: int
    grace: int
    series_cap: int
    future_bound: int


@dataclass(frozen=True)
class Row:
    """An event as a metric sees it; `watermark` is that of its partition before it."""

    source: Source
    offset: int
    time: int
    watermark: int
    weight: int
    error: bool
    value: int | None
    distinct: Any
    series: Series


def reference_windows(
    events: Events,
    metrics: Mapping[str, Metric],
    *,
    bound: int,
    grace: int,
    series_cap: int,
    future_bound: int,
) -> dict[Key, dict[str, Any]]:
    """Every window by metric, text, start, end and dimensions, once nothing is on its way.

    Args:
        events: of each source partition (topic, number), in the order of their offsets.
        bound: the disorder that a watermark allows for.
        grace: how long after its end a window still takes events.
        series_cap: for metrics without a `max_series`.
        future_bound: how far an event's time may be ahead of its Kafka timestamp.
    """
    rules, found = Rules(bound, grace, series_cap, future_bound), {}
    for name, metric in metrics.items():
        rows = list(_rows(events, metric, rules))
        for window in metric.resolutions():
            for (start, end, series), members in _cells(rows, metric, window, rules).items():
                key = (name, window.text, start, end, series)
                found[key] = _summary(metric, members, end - start)
    return found


def reference_refused(
    events: Events, metrics: Mapping[str, Metric], *, bound: int, grace: int, future_bound: int
) -> dict[tuple[Source, int], str]:
    """Which events are dead letters, by source partition and offset: `future` or `late`.

    An event is late when some window of some metric did not take it.
    """
    rules = Rules(bound, grace, 0, future_bound)
    found = {
        (source, event["offset"]): "future"
        for source, partition in events.items()
        for event in partition
        if _is_future(event, rules)
    }
    for metric in metrics.values():
        ends = [_closing(metric, window) for window in metric.resolutions()]
        for row in _with_value(_rows(events, metric, rules), metric):
            if any(end(row.time) + grace <= row.watermark for end in ends):
                found[row.source, row.offset] = "late"
    return found


def _is_future(event: Event, rules: Rules) -> bool:
    return bool(event["time"] > event["timestamp"] * 1000 + rules.future_bound)


def _rows(events: Events, metric: Metric, rules: Rules) -> Iterator[Row]:
    """The events for which `where` holds, partition by partition in the order of offsets."""
    for source, partition in sorted(events.items()):
        if source[0] != metric.event:
            continue
        watermark = 0
        for event in partition:
            if _is_future(event, rules):
                continue
            if _all_hold(metric.where, event):
                yield _row(source, event, watermark, metric)
            watermark = max(watermark, event["time"] - rules.bound)


def _row(source: Source, event: Event, watermark: int, metric: Metric) -> Row:
    return Row(
        source=source,
        offset=event["offset"],
        time=event["time"],
        watermark=watermark,
        weight=event["sample_rate"],
        error=bool(metric.error_when) and _all_hold(metric.error_when, event),
        value=_value(metric, event),
        distinct=None if metric.distinct is None else _field(event, metric.distinct),
        series=tuple(_text(_field(event, name)) for name in metric.dimensions),
    )


def _field(event: Event, name: str) -> Any:
    if name.startswith("attributes."):
        return event.get("attributes", {}).get(name.removeprefix("attributes."))
    return event.get(name)


def _text(value: Any) -> str:
    return {None: "", True: "true", False: "false"}.get(value, str(value))


def _all_hold(conditions: Mapping[str, Condition], event: Event) -> bool:
    return all(_holds(each, _field(event, name), event) for name, each in conditions.items())


def _holds(condition: Condition, value: Any, event: Event) -> bool:
    if value is None or condition.present is False:
        return value is None and condition.present is False
    other = _field(event, condition.differs_from) if condition.differs_from else None
    return all(
        (
            not condition.any_of or value in condition.any_of,
            value not in condition.excluded(),
            condition.gte is None or value >= condition.gte,
            condition.lte is None or value <= condition.lte,
            condition.differs_from is None or (other is not None and value != other),
        )
    )


def _value(metric: Metric, event: Event) -> int | None:
    """The value as an integer of `1 / value_scale`."""
    fields = metric.value_fields()
    parts: list[Any] = [event.get(name) for name in fields]
    if not parts or None in parts:
        return None
    kind = field_kind(metric.family(), fields[0])
    if kind is float:
        number = min(max(float(parts[0]), -LARGEST_FLOAT), LARGEST_FLOAT)
        return None if math.isnan(number) else round(number * 1_000_000)
    return int(parts[0] - parts[1] if kind is datetime else parts[0])


def _with_value(rows: Iterator[Row], metric: Metric) -> Iterator[Row]:
    return (row for row in rows if row.value is not None or metric.value is None)


def _cells(
    rows: list[Row], metric: Metric, window: Window, rules: Rules
) -> dict[tuple[int, int, Series], list[Row]]:
    end = _closing(metric, window)
    in_time = (row for row in rows if end(row.time) + rules.grace > row.watermark)
    if window.kind == "session":
        return _sessions(_with_value(in_time, metric), _micros(window.length))
    cells = defaultdict(list)
    capped = _capped(in_time, end, metric.max_series or rules.series_cap)
    for row in _with_value(capped, metric):
        for start, stop in _windows_around(row.time, window):
            cells[start, stop, row.series].append(row)
    return cells


def _closing(metric: Metric, window: Window) -> Callable[[int], int]:
    """When that closes which takes an event of a time: its pane, or a session that ends with it.

    A pane is the longest stretch of which all windows of the metric but the sessions are made.
    """
    if window.kind == "session":
        return lambda time: time + _micros(window.length)
    lengths = [each for w in metric.resolutions() if w.kind != "session" for each in w[2:]]
    pane = math.gcd(*map(_micros, lengths))
    return lambda time: time // pane * pane + pane


def _micros(length: timedelta) -> int:
    return length // timedelta(microseconds=1)


def _capped(rows: Iterator[Row], pane_end: Callable[[int], int], cap: int) -> Iterator[Row]:
    """The rows; in each pane of a source partition those of the series beyond the cap as one."""
    known: dict[tuple[Source, int], set[Series]] = defaultdict(set)
    for row in rows:
        own = known[row.source, pane_end(row.time)]
        if len(own) < cap:
            own.add(row.series)
        yield row if row.series in own else replace(row, series=(OTHER,) * len(row.series))


def _windows_around(time: int, window: Window) -> Iterator[tuple[int, int]]:
    length, hop = _micros(window.length), _micros(window.hop)
    start = time // hop * hop
    while start + length > time:
        yield start, start + length
        start -= hop


def _sessions(rows: Iterator[Row], gap: int) -> dict[tuple[int, int, Series], list[Row]]:
    """The sessions of each series, over all source partitions together."""
    ordered = sorted(rows, key=lambda row: (row.series, row.time, row.source, row.offset))
    found = {}
    for series, members in groupby(ordered, key=lambda row: row.series):
        session: list[Row] = []
        for row in members:
            if session and row.time - session[-1].time > gap:
                found[session[0].time, session[-1].time + gap, series] = session
                session = []
            session.append(row)
        found[session[0].time, session[-1].time + gap, series] = session
    return found


def _summary(metric: Metric, rows: list[Row], length: int) -> dict[str, Any]:
    """The fields of a window; sum, least and largest value as integers of `1 / value_scale`."""
    count = sum(row.weight for row in rows)
    errors = sum(row.weight for row in rows if row.error)
    values = [(row.value, row.weight) for row in rows if row.value is not None]
    total, scale = sum(value * weight for value, weight in values), metric.value_scale()
    return {
        "count": count,
        "errors": errors,
        "sum": total if values else None,
        "min": min((value for value, _ in values), default=None),
        "max": max((value for value, _ in values), default=None),
        "mean": total / scale / count if values else None,
        "rate": count / (length / 1_000_000),
        "error_ratio": errors / count,
        "quantiles": {f"p{q * 100:g}": _quantile(values, q) for q in metric.quantiles if values},
        "distinct": len({row.distinct for row in rows} - {None}),
        "sources": _sources(rows),
    }


def _quantile(values: list[tuple[int, int]], share: float) -> int:
    """The value of rank ceil(share * n), at least 1, where a value has as many ranks as weight."""
    total = sum(weight for _, weight in values)
    rank = max(math.ceil(Fraction(str(share)) * total), 1)
    for value, weight in sorted(values):
        rank -= weight
        if rank <= 0:
            return value
    raise AssertionError(f"share {share} is beyond all values")


def _sources(rows: list[Row]) -> dict[Source, tuple[int, int]]:
    """The first and the last offset of each source partition."""
    offsets = defaultdict(list)
    for row in rows:
        offsets[row.source].append(row.offset)
    return {source: (min(found), max(found)) for source, found in sorted(offsets.items())}
