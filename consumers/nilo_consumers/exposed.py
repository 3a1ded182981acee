"""Windows and sums as the metrics that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from prometheus_client import Metric
from prometheus_client.samples import BucketSpan, NativeHistogram

from nilo_consumers.names import metric_name
from nilo_consumers.tally import Ints, Totals
from nilo_schemas.windows import Window

# Of the histograms: eight buckets from one power of two to the next, as Prometheus has by default.
SCALE = 3
_IN_UNIT = ("sum", "min", "max", "mean")
_PLAIN = ("errors", "rate", "error_ratio", "distinct")


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


class Distribution(Metric):
    """A histogram in classic buckets, and the native one of each series that can be one."""

    def __init__(self, name: str, about: str) -> None:
        super().__init__(name, about, "histogram")
        self.native: list[tuple[dict[str, str], NativeHistogram]] = []


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
            name = metric_name(row["metric"], aggregate, row["unit"])
            _sample(families, name, "gauge", labels, value)
    # A gauge may not end in `_count`, which is for histograms.
    plain = {"window_events": row["count"]} | {name: row[name] for name in _PLAIN}
    for aggregate, value in plain.items():
        if value is not None:
            name = metric_name(row["metric"], aggregate)
            _sample(families, name, "gauge", labels, float(value))


def _counters(families: Families, one: Counted, totals: Totals) -> None:
    for aggregate, field in (("events", "count"), ("errors", "errors")):
        name = metric_name(one.metric, aggregate) + "_total"
        _sample(families, name, "counter", one.labels, float(totals.plain[field][one.slot]))


def _sample(families: Families, name: str, kind: str, labels: dict[str, str], value: float) -> None:
    # prometheus_client adds `_total` to a counter's own name and no other ending.
    family = name.removesuffix("_total") if kind == "counter" else name
    if family not in families:
        families[family] = Metric(family, _about(name), kind)
    families[family].add_sample(name, labels, value)


def _about(name: str) -> str:
    return f"{name.replace('_', ' ')}, from metrics.windows"


def _valued(totals: Totals, slot: int) -> bool:
    outside = totals.plain["zero"][slot] + totals.plain["negative"][slot]
    return bool(outside or len(totals.buckets(slot)[0]))


def _distribution(name: str, series: list[Counted], totals: Totals) -> Distribution:
    """All series of a name have the same bounds: 0, and the powers of two around their values."""
    family = Distribution(name, _about(name))
    doublings = np.concatenate([totals.buckets(one.slot)[0] >> SCALE for one in series])
    lowest, highest = (int(doublings.min()), int(doublings.max())) if len(doublings) else (0, 0)
    powers = np.arange(lowest, highest + 2)
    for one in series:
        bins, counts = totals.buckets(one.slot)
        below = np.concatenate([[0], np.cumsum(counts)])
        low = int(totals.plain["zero"][one.slot] + totals.plain["negative"][one.slot])
        under = low + below[np.searchsorted(bins, powers << SCALE)]
        total, added = low + int(below[-1]), float(totals.sums[one.slot])
        bounds = [("0.0", low), *zip((str(2.0**p) for p in powers), under.tolist(), strict=True)]
        for bound, value in [*bounds, ("+Inf", total)]:
            family.add_sample(f"{name}_bucket", one.labels | {"le": bound}, value)
        family.add_sample(f"{name}_count", one.labels, total)
        family.add_sample(f"{name}_sum", one.labels, added)
        if not totals.plain["negative"][one.slot]:
            family.native.append((one.labels, _native(bins, counts, low, added)))
    return family


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
