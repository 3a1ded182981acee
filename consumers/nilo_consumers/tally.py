"""The events, errors and values in the final windows of all series, as sums that only grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
# What a window adds, by its newest revision; times in microseconds, `slot` is its series.
SHARE = pa.schema(
    [
        *((name, pa.int64()) for name in ("slot", "start", "end", "revision")),
        *((name, pa.int64()) for name in ("count", "errors", "zero", "negative")),
        ("sum", pa.float64()),
        ("indexes", pa.list_(pa.int32())),
        ("counts", pa.list_(pa.int64())),
    ]
)
_ADDED = ("count", "errors", "zero", "negative")
_NO_TIME = np.iinfo(np.int64).min
_BIN_BITS, _BIAS = 24, 1 << 23
_MOST_ROWS, _MOST_TABLES = 50_000, 100  # of shares that are put in order at once


@dataclass(frozen=True)
class Totals:
    """Sums by slot; the buckets of all histograms lie in order of slot and index."""

    plain: dict[str, Ints]
    sums: Floats
    keys: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    counts: Ints = field(default_factory=lambda: np.empty(0, np.int64))

    @staticmethod
    def empty(slots: int) -> Totals:
        """Nothing in so many slots."""
        return Totals({name: np.zeros(slots, np.int64) for name in _ADDED}, np.zeros(slots))

    def plus(self, shares: pa.Table) -> Totals:
        """These sums and those of further shares."""
        slots = shares["slot"].to_numpy()
        plain = {name: total.copy() for name, total in self.plain.items()}
        for name, total in plain.items():
            np.add.at(total, slots, shares[name].to_numpy())
        sums = self.sums.copy()
        np.add.at(sums, slots, shares["sum"].to_numpy())
        lengths = pc.fill_null(pc.list_value_length(shares["indexes"]), 0).to_numpy()
        bins = pc.list_flatten(shares["indexes"]).to_numpy().astype(np.int64)
        keys = np.concatenate([self.keys, (np.repeat(slots, lengths) << _BIN_BITS) + bins + _BIAS])
        counts = np.concatenate([self.counts, pc.list_flatten(shares["counts"]).to_numpy()])
        return Totals(plain, sums, *_summed(keys, counts))

    def without(self, gone: Bools) -> Totals:
        """Nothing in the slots that are marked."""
        kept = ~gone[self.keys >> _BIN_BITS]
        plain = {name: np.where(gone, 0, total) for name, total in self.plain.items()}
        return Totals(plain, np.where(gone, 0.0, self.sums), self.keys[kept], self.counts[kept])

    def at_least(self, other: Totals) -> Totals:
        """These sums, but no count lower than the other's."""
        plain = {name: np.maximum(total, other.plain[name]) for name, total in self.plain.items()}
        return replace(self, plain=plain)

    def grown(self, more: int) -> Totals:
        """The same with so many more slots."""
        plain = {name: np.pad(total, (0, more)) for name, total in self.plain.items()}
        return Totals(plain, np.pad(self.sums, (0, more)), self.keys, self.counts)

    def buckets(self, slot: int) -> tuple[Ints, Ints]:
        """The indexes and counts of a slot's buckets."""
        begin, end = np.searchsorted(self.keys, [slot << _BIN_BITS, (slot + 1) << _BIN_BITS])
        return (self.keys[begin:end] & (2 * _BIAS - 1)) - _BIAS, self.counts[begin:end]


def _summed(keys: Ints, counts: Ints) -> tuple[Ints, Ints]:
    if not len(keys):
        return keys, counts
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    edges = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    return keys[edges], np.add.reduceat(counts, edges)


def last_of_each(*columns: Ints) -> Ints:
    """The row with the greatest last column for each value of the others, in their order.

    Of equal ones it is the later row.
    """
    order = np.lexsort(columns[::-1])
    same = [np.diff(column[order]) == 0 for column in columns[:-1]]
    last: Ints = order[np.append(~np.logical_and.reduce(same), True)] if len(order) else order
    return last


@dataclass(frozen=True)
class Parts:
    """What a Tally held at one moment; nothing of it changes, so it can be added up at leisure."""

    settled: Totals
    shares: Sequence[pa.Table]

    def newest(self) -> pa.Table:
        """The newest revision of each window that a revision may still replace."""
        table = pa.concat_tables(self.shares)
        columns = [table[name].to_numpy() for name in ("slot", "start", "revision")]
        return table.take(np.sort(last_of_each(*columns)))

    def totals(self) -> Totals:
        """All that was counted."""
        return self.settled.plus(self.newest())


class Tally:
    """Counts each event once, whatever revisions come and whichever sessions are joined.

    Windows that ended `reach` before the newest one of their series can be revised no more: they
    are added up for good, so what is held does not grow with time.
    """

    def __init__(self) -> None:
        self._settled = Totals.empty(0)
        self._shares: list[pa.Table] = [SHARE.empty_table()]
        self._noted = 0
        self._newest = self._reach = np.empty(0, np.int64)

    def grow(self, more: int) -> None:
        """Make place for so many more slots."""
        self._settled = self._settled.grown(more)
        self._newest = np.pad(self._newest, (0, more), constant_values=_NO_TIME)
        self._reach = np.pad(self._reach, (0, more))

    def begin(self, slot: int, reach: int) -> None:
        """Take a slot for a series whose windows are revised for `reach` microseconds."""
        self._reach[slot] = reach

    def add(self, shares: pa.Table) -> None:
        """Count final windows (SHARE), instead of what older revisions of them said."""
        slots, ends = shares["slot"].to_numpy(), shares["end"].to_numpy()
        self._shares.append(shares.filter(pa.array(ends >= self._oldest(slots))))
        np.maximum.at(self._newest, slots, ends)
        self._noted += len(shares)
        many = self._noted > max(_MOST_ROWS, len(self._shares[0]))
        if many or len(self._shares) > _MOST_TABLES:
            self._settle()

    def forget(self, gone: Bools) -> None:
        """Forget the slots that are marked; they may be taken again."""
        self._settled = self._settled.without(gone)
        self._shares = [
            table.filter(pa.array(~gone[table["slot"].to_numpy()])) for table in self._shares
        ]
        self._newest[gone] = _NO_TIME

    def parts(self) -> Parts:
        """What is held now."""
        return Parts(self._settled, tuple(self._shares))

    def _oldest(self, slots: Ints) -> Ints:
        # A slot without windows yet has no oldest time either.
        return np.maximum(self._newest[slots], _NO_TIME + self._reach[slots]) - self._reach[slots]

    def _settle(self) -> None:
        shares = self.parts().newest()
        old = shares["end"].to_numpy() < self._oldest(shares["slot"].to_numpy())
        self._settled = self._settled.plus(shares.filter(pa.array(old)))
        self._shares, self._noted = [shares.filter(pa.array(~old))], 0


def shares_of(rows: pa.Table, slots: Any, scale: int) -> pa.Table:
    """The shares of final windows (rows of the contract), their histograms brought to `scale`."""
    count = rows["count"]
    known = pc.coalesce(rows["sum"], pc.multiply(rows["mean"], count.cast(pa.float64())))
    # NaN says that the metric has no sum; a withdrawn window is no such witness.
    total = pc.coalesce(known, pc.if_else(pc.equal(count, 0), 0.0, float("nan")))
    parts = dict(zip(_PARTS, rows["histogram"].combine_chunks().flatten(), strict=True))
    columns = {
        "slot": pa.array(slots),
        "start": rows["window_start"].cast(pa.int64()),
        "end": rows["window_end"].cast(pa.int64()),
        "revision": rows["revision"],
        "count": count,
        "errors": rows["errors"],
        "zero": pc.fill_null(parts["zero"], 0),
        "negative": pc.fill_null(parts["negative"], 0),
        "sum": total,
        "indexes": _rescaled(parts["indexes"], pc.fill_null(parts["scale"], scale), scale),
        "counts": parts["counts"],
    }
    return pa.table([columns[field.name].cast(field.type) for field in SHARE], schema=SHARE)


_PARTS = ("scale", "zero", "negative", "indexes", "counts")


def _rescaled(lists: pa.ListArray, scales: pa.Array, scale: int) -> pa.ListArray:
    """Bucket indexes at another scale: a finer one puts all into the last bucket of the coarse."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    steps = np.repeat(scales.to_numpy() - scale, lengths)
    bins = pc.list_flatten(lists).to_numpy().astype(np.int64)
    moved = np.where(steps >= 0, bins >> np.maximum(steps, 0), 0)
    finer = ((bins + 1) << np.maximum(-steps, 0)) - 1
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pa.array(np.where(steps >= 0, moved, finer), pa.int32())
    )
