"""Final windows as rules look at them: columns of one metric and one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nilo_schemas.results import SourceRange
from nilo_stream_processors.engine.arrays import Floats, Ints, Texts
from nilo_stream_processors.engine.series import SEPARATOR

# A window without events is not published; of these aggregates it would have 0.
ZERO_WHEN_ABSENT = frozenset({"count", "errors", "rate", "sum", "distinct"})
_KEPT = (
    *("window_start", "window_end", "dimensions", "count", "errors", "sum", "min", "max", "mean"),
    *("rate", "error_ratio", "quantiles", "distinct", "revision", "sources"),
)


@dataclass(frozen=True)
class Closed:
    """Windows of one metric and one length, with the text of each one's series; µs."""

    series: Texts
    start: Ints
    end: Ints
    revision: Ints
    count: Ints
    batch: pa.RecordBatch

    def __len__(self) -> int:
        return len(self.series)

    @classmethod
    def of(cls, batch: pa.RecordBatch, dimensions: Sequence[str]) -> Closed:
        """The windows of an Arrow batch of MetricWindow, all of one metric and length."""
        batch = batch.select(_KEPT)
        return cls(
            _series(batch["dimensions"], dimensions),
            _ints(batch["window_start"]),
            _ints(batch["window_end"]),
            _ints(batch["revision"]),
            _ints(batch["count"]),
            batch,
        )

    def take(self, rows: Ints) -> Closed:
        """The given rows."""
        return Closed(
            self.series[rows],
            self.start[rows],
            self.end[rows],
            self.revision[rows],
            self.count[rows],
            self.batch.take(pa.array(rows)),
        )

    @classmethod
    def joined(cls, parts: Sequence[Closed]) -> Closed:
        """Several one after another; at least one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.series for part in parts]),
            np.concatenate([part.start for part in parts]),
            np.concatenate([part.end for part in parts]),
            np.concatenate([part.revision for part in parts]),
            np.concatenate([part.count for part in parts]),
            pa.concat_batches([part.batch for part in parts]),
        )

    def values(self, aggregate: str) -> Floats:
        """The values of an aggregate, `p95` among them; NaN where there is none."""
        if aggregate in self.batch.schema.names:
            found = self.batch[aggregate]
        else:
            found = pc.map_lookup(self.batch["quantiles"], pa.scalar(aggregate), "first")
        plain = found.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return cast("Floats", plain)

    def sources(self, row: int) -> list[SourceRange]:
        """The stretches that one window was made of."""
        return [SourceRange.model_validate(each) for each in self.batch["sources"][row].as_py()]

    def last_sources(self) -> Ints:
        """Partition, first and last offset of the last stretch of each window: shape (3, rows)."""
        lists = self.batch["sources"]
        flat, last = lists.flatten(), np.cumsum(_ints(lists.value_lengths())) - 1
        names = ("partition", "first_offset", "last_offset")
        return np.stack([_ints(flat.field(name))[last] for name in names])


def _ints(column: pa.Array) -> Ints:
    return cast("Ints", column.cast(pa.int64()).to_numpy(zero_copy_only=False))


def _series(dimensions: pa.Array, names: Sequence[str]) -> Texts:
    """The text of each series, from a column of maps."""
    if not names:
        return np.full(len(dimensions), "", np.object_)
    labels = [pc.map_lookup(dimensions, pa.scalar(name), "first").fill_null("") for name in names]
    texts = pc.binary_join_element_wise(*labels, SEPARATOR)
    return np.asarray(texts.to_numpy(zero_copy_only=False), np.object_)
