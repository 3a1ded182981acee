"""The newest window of each series, and counters made of final windows, for a scrape."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from nilo_consumers.exposed import SCALE, Counted, Shown, families_of
from nilo_consumers.maps import series_keys
from nilo_consumers.names import labels_of
from nilo_consumers.newest import Newest, alive
from nilo_consumers.tally import Bools, Ints, Tally, Totals, shares_of
from nilo_schemas.windows import Window, parse_window

EXPIRES = timedelta(minutes=15)
_COUNTED_BACK = timedelta(hours=1)  # a revision of an older window is no longer counted
_COUNTED_FIRST = ("tumbling", "session", "hopping")
_SHOWN = (
    "metric", "unit", "count", "errors", "sum", "min", "max", "mean", "rate", "error_ratio",
    "distinct", "quantiles", "sources",
)  # fmt: skip
_NO_SLOT = -1
_MICROSECOND = timedelta(microseconds=1)


@dataclass
class _Series:
    slot: int
    metric: str
    unit: str
    kind: Window
    labels: dict[str, str]
    shown: dict[str, Any] | None = None
    exemplar: Exemplar | None = None


@dataclass
class _Held:
    """Of one metric: its series by window, which window is counted, how many were left out."""

    series: Counter[str] = field(default_factory=Counter)
    kind: Window | None = None
    capped: int = 0


class WindowCollector(Collector):
    """Holds windows for /metrics. A series that nothing updates for EXPIRES is dropped.

    `add` and `collect` may run in different threads; a scrape holds the lock only to take
    references.

    Args:
        clock: monotonic seconds.
        cap: series that a metric may have in one window. The windows of further ones are left out
            and counted in `nilo_capped_windows_total`, until series have expired.
    """

    def __init__(self, clock: Callable[[], float], cap: int) -> None:
        self._clock, self._cap = clock, cap
        self._series: dict[str, _Series] = {}
        self._at: dict[int, _Series] = {}
        self._metrics: dict[str, _Held] = {}
        self._newest = Newest()
        # By slot: when a window came; of which starts windows count (multiples of it; 0: of none).
        self._updated = np.empty(0)
        self._step: Ints = np.empty(0, np.int64)
        self._free: list[int] = []
        self._tally, self._latched = Tally(), Totals.empty(0)
        self._generation = 0
        self._lock = threading.Lock()

    def add(self, rows: pa.Table) -> None:
        """Take windows (rows of the contract) in the order of their topic."""
        rows = pa.table([column.combine_chunks() for column in rows.columns], schema=rows.schema)
        keys = series_keys(rows).dictionary_encode()
        codes = keys.indices.to_numpy()
        first = np.unique(codes, return_index=True)[1]
        with self._lock:
            self._expire()
            slots = self._slots(keys.dictionary.to_pylist(), rows, first)[codes]
            rows, slots = self._uncapped(rows, slots)
            if len(rows):
                self._updated[slots] = self._clock()
                self._show(rows, slots)
                self._count(rows, slots)

    def collect(self) -> Iterator[Metric]:
        """The gauges, counters and histograms, one Metric for each name."""
        with self._lock:
            self._expire()
            generation, latched, parts = self._generation, self._latched, self._tally.parts()
            held = [(one, one.shown) for one in self._series.values()]
            counted = [one for one, _ in held if self._step[one.slot]]
            capped = {name: each.capped for name, each in self._metrics.items() if each.capped}
        # What was shown once stays: to Prometheus, a counter that falls has begun anew at 0.
        totals = parts.totals().at_least(latched)
        with self._lock:
            if generation == self._generation:
                self._latched = totals.at_least(self._latched)
        yield from families_of(
            [Shown(one.kind.text, one.labels, row) for one, row in held if row is not None],
            [
                Counted(one.metric, one.unit, one.kind, one.labels, one.slot, one.exemplar)
                for one in counted
            ],
            totals,
            capped,
        )

    def sources(self) -> dict[str, dict[str, Any]]:
        """Where the last event of the window shown lies, by key, of each series that is counted."""
        with self._lock:
            shown = {
                key: one.shown["sources"]
                for key, one in self._series.items()
                if one.shown is not None and self._step[one.slot]
            }
        known = {
            key: [each for each in ranges if each["last_offset"] >= 0]
            for key, ranges in shown.items()
        }
        return {key: ranges[0] for key, ranges in known.items() if ranges}

    def show_exemplar(self, key: str, exemplar: Exemplar | None) -> None:
        """Show an event of a series with its counter; a series that is gone needs none."""
        with self._lock:
            if key in self._series:
                self._series[key].exemplar = exemplar

    # Slots

    def _slots(self, keys: list[str], rows: pa.Table, first: Ints) -> Ints:
        """The slot of each key; `first` tells a row that has it."""
        found = []
        for key, row in zip(keys, first.tolist(), strict=True):
            one = self._series.get(key) or self._begun(key, rows.slice(row, 1).to_pylist()[0])
            found.append(_NO_SLOT if one is None else one.slot)
        return np.array(found, np.int64)

    def _begun(self, key: str, row: dict[str, Any]) -> _Series | None:
        """A new series, unless its metric has as many as it may."""
        held = self._metrics.setdefault(row["metric"], _Held())
        if held.series[row["window"]] >= self._cap:
            return None
        held.series[row["window"]] += 1
        kind, labels = _kind(row), labels_of(dict(row["dimensions"]))
        one = _Series(self._slot(), row["metric"], row["unit"], kind, labels)
        self._series[key] = self._at[one.slot] = one
        self._tally.begin(one.slot, (_COUNTED_BACK + 2 * kind.length) // _MICROSECOND)
        if held.kind is None or _rank(kind) < _rank(held.kind):
            self._count_only(one.metric, kind)
        elif kind == held.kind:
            self._step[one.slot] = _step(kind)
        return one

    def _slot(self) -> int:
        if not self._free:
            held = len(self._updated)
            more = max(64, held)
            self._newest.grow(more)
            self._updated = np.pad(self._updated, (0, more), constant_values=np.inf)
            self._step = np.pad(self._step, (0, more))
            self._tally.grow(more)
            self._latched = self._latched.grown(more)
            self._generation += 1
            self._free = list(range(held + more - 1, held - 1, -1))
        return self._free.pop()

    def _uncapped(self, rows: pa.Table, slots: Ints) -> tuple[pa.Table, Ints]:
        kept = slots != _NO_SLOT
        if kept.all():
            return rows, slots
        left_out = rows["metric"].filter(pa.array(~kept)).value_counts()
        for each in left_out.to_pylist():
            self._metrics[each["values"]].capped += each["counts"]
        return rows.filter(pa.array(kept)), slots[kept]

    def _expire(self) -> None:
        gone = self._updated < self._clock() - EXPIRES.total_seconds()
        if not gone.any():
            return
        metrics = set()
        for key in [key for key, one in self._series.items() if gone[one.slot]]:
            one = self._series.pop(key)
            self._free.append(one.slot)
            del self._at[one.slot]
            self._metrics[one.metric].series[one.kind.text] -= 1
            metrics.add(one.metric)
        self._updated[gone], self._step[gone] = np.inf, 0
        self._newest.forget(gone)
        self._forget_counts(gone)
        for metric in metrics:
            kinds = [one.kind for one in self._series.values() if one.metric == metric]
            self._count_only(metric, min(kinds, key=_rank, default=None))

    def _show(self, rows: pa.Table, slots: Ints) -> None:
        chosen = self._newest.chosen(rows, slots)
        shown = rows.select(_SHOWN).take(chosen).to_pylist()
        for slot, row, live in zip(slots[chosen].tolist(), shown, alive(rows)[chosen], strict=True):
            self._at[slot].shown = row if live else None

    # What is counted

    def _count(self, rows: pa.Table, slots: Ints) -> None:
        step = self._step[slots]
        starts = rows["window_start"].cast(pa.int64()).to_numpy()
        counts = (step > 0) & (starts % np.maximum(step, 1) == 0)
        mask = pc.and_(rows["final"], pa.array(counts))
        rows, slots = rows.filter(mask), slots[mask.to_numpy()]
        if len(rows):
            self._tally.add(shares_of(rows, slots, SCALE))

    def _count_only(self, metric: str, kind: Window | None) -> None:
        """Count windows of one kind for a metric: the others hold the same events again."""
        if self._metrics[metric].kind == kind:
            return
        self._metrics[metric].kind = kind
        gone = np.zeros(len(self._updated), np.bool_)
        for one in self._series.values():
            if one.metric == metric:
                gone[one.slot] = True
                self._step[one.slot] = _step(one.kind) if one.kind == kind else 0
        self._forget_counts(gone)

    def _forget_counts(self, gone: Bools) -> None:
        self._tally.forget(gone)
        self._latched = self._latched.without(gone)
        self._generation += 1


def _kind(row: dict[str, Any]) -> Window:
    try:
        return parse_window(row["window"])
    except ValueError:  # of a foreign writer: its numbers are shown as they are
        length = row["window_end"] - row["window_start"]
        return Window(row["window"], "tumbling", length, length)


def _rank(kind: Window) -> tuple[int, timedelta, str]:
    return _COUNTED_FIRST.index(kind.kind), kind.length, kind.text


def _step(kind: Window) -> int:
    """Of hopping windows, which overlap, those side by side count; of others every one."""
    return kind.length // _MICROSECOND if kind.kind == "hopping" else 1
