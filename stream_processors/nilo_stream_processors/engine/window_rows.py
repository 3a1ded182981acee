"""How windows were published last, as columns: stage 2 keeps it in its state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa

from nilo_stream_processors.engine.arrays import Bools, Ints, Texts, constant, joined, taken
from nilo_stream_processors.engine.texts import NAME, arrow_texts, texts_of

SCHEMA = pa.schema(
    {
        "metric": NAME,
        "window": NAME,
        "series": pa.string(),
        "start": pa.int64(),
        "end": pa.int64(),
        "revision": pa.int64(),
        "final": pa.bool_(),
    }
)


@dataclass(frozen=True)
class WindowRows:
    """How windows were published last, as columns of equal length; times in microseconds."""

    metric: Texts
    window: Texts
    series: Texts
    start: Ints
    end: Ints
    revision: Ints
    final: Bools

    def __len__(self) -> int:
        return len(self.metric)

    @classmethod
    def of(cls, name: tuple[str, str], series: Texts, *columns: Any) -> WindowRows:
        """Rows of one metric and one text of a window; the other columns in their order."""
        metric, window = (constant(text, len(series)) for text in name)
        return cls(metric, window, series, *columns)

    @classmethod
    def joined(cls, parts: Sequence[WindowRows]) -> WindowRows:
        """Several one after another; of nothing, an empty one."""
        parts = parts or [cls.from_arrow(pa.RecordBatch.from_pylist([], SCHEMA))]
        names = [field.name for field in fields(cls)]
        return cls(*(joined([getattr(part, name) for part in parts]) for name in names))

    def to_arrow(self) -> pa.RecordBatch:
        """The rows as an Arrow batch of SCHEMA."""
        columns = [_arrow(getattr(self, field.name), field.type) for field in SCHEMA]
        return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)

    @classmethod
    def from_arrow(cls, batch: pa.RecordBatch) -> WindowRows:
        """The rows of an Arrow batch of SCHEMA."""
        columns: list[Any] = [texts_of(batch.column(name)) for name in SCHEMA.names[:3]]
        columns += [batch.column(name).to_numpy(zero_copy_only=False) for name in SCHEMA.names[3:]]
        return cls(*columns)

    def stretches(self, edges: Ints) -> list[Self]:
        """The rows from each edge to the next one, as views; edges are rising."""
        columns = [getattr(self, field.name) for field in fields(self)]
        pairs = pairwise(edges.tolist())
        return [type(self)(*(column[first:last] for column in columns)) for first, last in pairs]

    def take(self, rows: Ints | Bools) -> WindowRows:
        """The given rows, by number or by a mask."""
        numbers: Ints = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64)
        return WindowRows(*(taken(getattr(self, field.name), numbers) for field in fields(self)))


def _arrow(column: Any, kind: pa.DataType) -> pa.Array:
    return arrow_texts(column, kind) if column.dtype == np.object_ else pa.array(column, kind)
