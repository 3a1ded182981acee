"""Windows and sums as the metrics that Prometheus reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from prometheus_client import Metric
from prometheus_client.samples import BucketSpan, Exemplar, NativeHistogram

from nilo_consumers.names import metric_name
from nilo_consumers.tally import Ints, Totals
from nilo_schemas.windows import Window

# Of the histograms: eight buckets from one power of two to the next, as Prometheus has by default.
SCALE = 3
_IN_UNIT = ("sum", "min", "max", "mean")
_PLAIN = ("rate", "error_ratio", "distinct")


@dataclass(frozen=True)
class Shown:
    """The newest window of a series."""

    window: str
    labels: dict[str, str]
    row: dict[str, Any]


@dataclass(frozen=True)
class Counted:
    """A series whose final windows are summed up in a slot."""

    metric: str
    unit: str
    kind: Window
    labels: dict[str, str]
    slot: int
    exemplar: Exemplar | None


@dataclass(frozen=True)
class Buckets:
    """The histogram of a series: how many values are at most each bound; a native one if it may be.

    Values below zero have no bucket in the contract, so there is no native histogram with them.
    """

    labels: dict[str, str]
    bounds: list[tuple[float, int]]
    total: int
    sum: float
    native: NativeHistogram | None

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """The ending of the name, labels and value of each sample in classic form."""
        for bound, count in [*self.bounds, (math.inf, self.total)]:
            le = "+Inf" if bound == math.inf else str(bound)
            yield "_bucket", self.labels | {"le": le}, count
        yield "_count", self.labels, self.total
        yield "_sum", self.labels, self.sum


class Distribution(Metric):
    """A histogram: in classic buckets as samples; `series` has all that there is."""

    def __init__(self, name: str, series: list[Buckets]) -> None:
        super().__init__(name, _about(name), "histogram")
        self.series = series
        for one in series:
            for ending, labels, value in one.samples():
                self.add_sample(name + ending, labels, value)


Families = dict[str, Metric]


def families_of(
    shown: Iterable[Shown], counted: Iterable[Counted], totals: Totals, capped: Mapping[str, int]
) -> Iterable[Metric]:
    """One Metric for each name."""
    families: Families = {}
    for each in shown:
        _gauges(families, each)
    by_name: dict[str, list[Counted]] = {}
    for one in counted:
        _counters(families, one, totals)
        name = metric_name(one.metric, "distribution", one.unit)
        # Joined sessions take counts back, which buckets cannot.
        if one.kind.kind != "session" and _valued(totals, one.slot):
            by_name.setdefault(name, []).append(one)
    for name, series in by_name.items():
        families[name] = _distribution(name, series, totals)
    for metric, windows in capped.items():
        name = "nilo_capped_windows_total"
        _sample(families, name, "counter", {"metric": metric}, float(windows))
    return families.values()


def _gauges(families: Families, shown: Shown) -> None:
    row, labels = shown.row, {"window": shown.window, **shown.labels}
    in_unit = {name: row[name] for name in _IN_UNIT} | dict(row["quantiles"])
    for aggregate, value in in_unit.items():
        if value is not None:
            # A gauge ends neither in `_sum` nor in `_count`: these are for histograms.
            unit = row["unit"] or ("value" if aggregate == "sum" else "")
            name = metric_name(row["metric"], aggregate, unit)
            _sample(families, name, "gauge", labels, value)
    # Without `window_` OpenMetrics would take them for the counters.
    plain = {"window_events": row["count"], "window_errors": row["errors"]}
    plain |= {name: row[name] for name in _PLAIN}
    for aggregate, value in plain.items():
        if value is not None:
            name = metric_name(row["metric"], aggregate)
            _sample(families, name, "gauge", labels, float(value))


def _counters(families: Families, one: Counted, totals: Totals) -> None:
    for aggregate, field in (("events", "count"), ("errors", "errors")):
        name = metric_name(one.metric, aggregate) + "_total"
        value = float(totals.plain[field][one.slot])
        exemplar = one.exemplar if aggregate == "events" else None
        _sample(families, name, "counter", one.labels, value, exemplar=exemplar)


def _sample(
    families: Families,
    name: str,
    kind: str,
    labels: dict[str, str],
    value: float,
    *,
    exemplar: Exemplar | None = None,
) -> None:
    # prometheus_client adds `_total` to a counter's own name and no other ending.
    family = name.removesuffix("_total") if kind == "counter" else name
    if family not in families:
        families[family] = Metric(family, _about(name), kind)
    families[family].add_sample(name, labels, value, None, exemplar)


def _about(name: str) -> str:
    return f"{name.replace('_', ' ')}, from metrics.windows"


def _valued(totals: Totals, slot: int) -> bool:
    outside = totals.plain["zero"][slot] + totals.plain["negative"][slot]
    return bool(outside or len(totals.buckets(slot)[0]))


def _distribution(name: str, series: list[Counted], totals: Totals) -> Distribution:
    """All series of a name have the same bounds: 0, and the powers of two around their values."""
    doublings = np.concatenate([totals.buckets(one.slot)[0] >> SCALE for one in series])
    lowest, highest = (int(doublings.min()), int(doublings.max())) if len(doublings) else (0, 0)
    powers = np.arange(lowest, highest + 2)
    return Distribution(name, [_buckets(one, powers, totals) for one in series])


def _buckets(one: Counted, powers: Ints, totals: Totals) -> Buckets:
    bins, counts = totals.buckets(one.slot)
    zero, negative = (int(totals.plain[field][one.slot]) for field in ("zero", "negative"))
    running = zero + negative + np.concatenate([[0], np.cumsum(counts)])
    under = running[np.searchsorted(bins, powers << SCALE)].tolist()
    bounds = [(0.0, zero + negative), *zip(np.ldexp(1.0, powers).tolist(), under, strict=True)]
    added = float(totals.sums[one.slot])
    native = None if negative else _native(bins, counts, zero, added)
    return Buckets(one.labels, bounds, int(running[-1]), added, native)


def _native(bins: Ints, counts: Ints, zero: int, added: float) -> NativeHistogram:
    """Prometheus numbers a bucket by its upper bound, OpenTelemetry by its lower one."""
    begins = np.flatnonzero(np.diff(bins, prepend=bins[:1] - 2) != 1)
    ends = np.append(begins[1:], len(bins))
    gaps = np.diff(bins[begins] + 1, prepend=0)
    gaps[1:] -= (ends - begins)[:-1]
    spans = [BucketSpan(int(g), int(n)) for g, n in zip(gaps, ends - begins, strict=True)]
    deltas = np.diff(counts, prepend=0).tolist()
    total = zero + int(counts.sum())
    return NativeHistogram(total, added, SCALE, 0.0, zero, spans, None, deltas, None)
