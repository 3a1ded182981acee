"""Windows cell by cell: what two sets of them have in common, and where they differ.

A cell is one window of one series of one metric. What decides is its content: how often it was
revised, and when it was published, depends on when it was looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nilo_consumers.batch import ORIGIN
from nilo_consumers.window_rows import SCHEMA
from nilo_schemas.results import SourceRange
from nilo_stream_processors.engine.arrays import Bools, Floats, Ints

Kind = Literal["added", "removed", "changed"]
VALUES = ("count", "errors", "sum", "min", "max", "mean", "rate", "error_ratio", "distinct")
# Of the texts of a key, in which none of these may stand.
_FIELD, _PAIR = "\x1f", "\x1e"
_READ = pa.schema([field for field in SCHEMA if field not in ORIGIN])
Ends = Mapping[tuple[str, int], tuple[int, int]]


class Change(NamedTuple):
    """A field of a cell that differs; of a whole cell that only one has, its count.

    `relative` is (new - old) / |old|; None where that says nothing.
    """

    kind: Kind
    metric: str
    window: str
    window_start: datetime
    dimensions: dict[str, str]
    field: str
    old: float | None
    new: float | None
    relative: float | None
    sources: list[SourceRange]

    def to_json(self) -> dict[str, Any]:
        """As it is written for programs."""
        return self._asdict() | {
            "window_start": self.window_start.isoformat(),
            "sources": [each.model_dump() for each in self.sources],
        }


@dataclass(frozen=True)
class Cells:
    """The newest revision of each window, in order of their keys."""

    keys: Any
    rows: pa.Table

    @classmethod
    def of(
        cls,
        batches: Iterable[pa.RecordBatch],
        *,
        withdrawn: bool = False,
        schema: pa.Schema = _READ,
    ) -> Cells:
        """Those of final windows with all their revisions.

        Args:
            batches: with the columns of a window.
            withdrawn: also those whose newest revision says that there is none any more.
            schema: which columns are kept; histograms, the largest part, only when they are asked.
        """
        table = pa.Table.from_batches([batch.select(schema.names) for batch in batches], schema)
        table = table.filter(pc.field("final")).combine_chunks()
        if not table.num_rows:
            return cls(np.empty(0, np.object_), table)
        keys = _keys(table)
        _, codes = np.unique(keys, return_inverse=True)
        order = np.lexsort((table["revision"].to_numpy(), codes))
        last = order[np.flatnonzero(np.diff(codes[order], append=-1))]
        if not withdrawn:
            last = last[table["count"].to_numpy()[last] > 0]
        return cls(keys[last], table.take(pa.array(last)))

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, wanted: Bools | Ints) -> Cells:
        """Those that are wanted, by a mask or by their places."""
        places = np.flatnonzero(wanted) if wanted.dtype == np.bool_ else wanted
        return Cells(self.keys[places], self.rows.take(pa.array(places)))

    def within(self, ends: Ends) -> Bools:
        """Which of them were made of these offsets `[first, stop)` alone."""
        inside = np.ones(len(self), np.bool_)
        lists = self.rows["sources"].combine_chunks()
        owners = np.repeat(np.arange(len(self)), np.asarray(pc.list_value_length(lists)))
        for source, owner in zip(lists.flatten().to_pylist(), owners.tolist(), strict=True):
            first, stop = ends.get((source["topic"], source["partition"]), (0, 0))
            inside[owner] &= first <= source["first_offset"] and source["last_offset"] < stop
        return inside

    def sources(self, row: int) -> list[SourceRange]:
        """The stretches that a window was made of."""
        return [SourceRange.model_validate(each) for each in self.rows["sources"][row].as_py()]


def _keys(table: pa.Table) -> Any:
    """The text of each cell's key: metric, window, start, and its labels in order."""
    dimensions = table["dimensions"].combine_chunks()
    distinct: dict[str, str] = {}
    texts = []
    for pairs in dimensions.to_pylist():
        told = str(pairs)
        if told not in distinct:
            distinct[told] = _PAIR.join(f"{name}={value}" for name, value in sorted(pairs))
        texts.append(distinct[told])
    starts = table["window_start"].cast(pa.int64()).cast(pa.string())
    joined = pc.binary_join_element_wise(
        table["metric"], table["window"], starts, pa.array(texts, pa.string()), _FIELD
    )
    return joined.to_numpy(zero_copy_only=False)


@dataclass
class Compared:
    """How two sets of cells differ: how many cells are equal, and what differs in the others."""

    equal: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    changes: list[Change] = field(default_factory=list)

    @property
    def differ(self) -> int:
        """Cells that are not equal."""
        return self.added + self.removed + self.changed


def compare(old: Cells, new: Cells) -> Compared:
    """All differences, in the order of the keys."""
    mine, theirs, unequal = _matched(old, new)
    found, differs = Compared(), np.zeros(len(mine), np.bool_)
    for name, before, after in unequal:
        places = np.flatnonzero(_unequal(before, after))
        differs[places] = True
        for place in places.tolist():
            values = _value(before[place]), _value(after[place])
            found.changes.append(_change("changed", new, int(theirs[place]), name, values))
    found.changed = int(differs.sum())
    found.equal = len(mine) - found.changed
    for kind, cells, matched in (("removed", old, mine), ("added", new, theirs)):
        alone = np.setdiff1d(np.arange(len(cells)), matched).tolist()
        setattr(found, kind, len(alone))
        found.changes += [_alone(kind, cells, row) for row in alone]  # type: ignore[arg-type]  # one of Kind
    found.changes.sort(key=lambda each: (each.metric, each.window, each.window_start))
    return found


def matched(old: Cells, new: Cells) -> tuple[Ints, Ints, Bools]:
    """The places of the cells that both have, in each of them, and which of these differ."""
    mine, theirs, values = _matched(old, new)
    differs = np.zeros(len(mine), np.bool_)
    for _, before, after in values:
        differs |= _unequal(before, after)
    return mine, theirs, differs


def _matched(old: Cells, new: Cells) -> tuple[Ints, Ints, Iterator[tuple[str, Floats, Floats]]]:
    _, mine, theirs = np.intersect1d(old.keys, new.keys, return_indices=True)
    both = old.rows.take(pa.array(mine)), new.rows.take(pa.array(theirs))
    return mine, theirs, _columns(*both)


def _unequal(before: Floats, after: Floats) -> Bools:
    return np.asarray(~((before == after) | (np.isnan(before) & np.isnan(after))), np.bool_)


def _columns(old: pa.Table, new: pa.Table) -> Iterator[tuple[str, Floats, Floats]]:
    """The values of both by name: quantiles like all others; NaN where there is none."""
    for name in VALUES:
        yield name, _numbers(old[name]), _numbers(new[name])
    names = {
        name
        for table in (old, new)
        for name in pc.unique(table["quantiles"].combine_chunks().keys).to_pylist()
    }
    for name in sorted(names):
        pair = (
            pc.map_lookup(table["quantiles"].combine_chunks(), pa.scalar(name), "first")
            for table in (old, new)
        )
        before, after = map(_numbers, pair)
        yield name, before, after


def _numbers(column: pa.ChunkedArray | pa.Array) -> Floats:
    plain: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return plain


def _value(number: float) -> float | None:
    return None if np.isnan(number) else float(number)


def _alone(kind: Kind, cells: Cells, row: int) -> Change:
    count = float(cells.rows["count"][row].as_py())
    return _change(kind, cells, row, "count", (None, count) if kind == "added" else (count, None))


def _change(
    kind: Kind, cells: Cells, row: int, name: str, values: tuple[float | None, float | None]
) -> Change:
    rows, (old, new) = cells.rows, values
    return Change(
        kind,
        rows["metric"][row].as_py(),
        rows["window"][row].as_py(),
        rows["window_start"][row].as_py(),
        dict(rows["dimensions"][row].as_py()),
        name,
        old,
        new,
        (new - old) / abs(old) if old and new is not None else None,
        cells.sources(row),
    )


def overlapping(cut: Cells, cells: Cells) -> Bools:
    """Which cells lie where one of their series is cut: a session may begin elsewhere there."""
    found = np.zeros(len(cells), np.bool_)
    times: dict[str, list[tuple[int, int]]] = {}
    for series, begin, end in _spans(cut):
        times.setdefault(series, []).append((begin, end))
    for row, (series, begin, end) in enumerate(_spans(cells)):
        found[row] = any(begin < stop and start < end for start, stop in times.get(series, ()))
    return found


def _spans(cells: Cells) -> Iterator[tuple[str, int, int]]:
    starts: Ints = cells.rows["window_start"].cast(pa.int64()).to_numpy()
    ends: Ints = cells.rows["window_end"].cast(pa.int64()).to_numpy()
    for key, begin, end in zip(cells.keys.tolist(), starts.tolist(), ends.tolist(), strict=True):
        metric, window, _, labels = key.split(_FIELD)
        yield _FIELD.join((metric, window, labels)), begin, end
