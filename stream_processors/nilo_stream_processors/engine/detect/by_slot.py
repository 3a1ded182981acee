"""What a rule has learnt of each series of its feed, as arrays by the number of the series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from nilo_stream_processors.engine.arrays import Bools, Ints, Texts
from nilo_stream_processors.engine.detect.feed import Feed
from nilo_stream_processors.engine.detect.verdicts import Stored


class BySlot:
    """Arrays whose rows belong to the series of a feed; they grow as it does.

    Args:
        columns: by name, the number of values that a series has.
    """

    def __init__(self, feed: Feed, columns: Mapping[str, tuple[int, type]]) -> None:
        self._feed = feed
        self.arrays: dict[str, np.ndarray[Any, Any]] = {
            name: np.zeros((0, width), kind) for name, (width, kind) in columns.items()
        }
        self.dirty: Bools = np.zeros(0, np.bool_)

    def grow(self) -> None:
        """Make room for the series that the feed knows by now."""
        more = self._feed.numbers.capacity - len(self.dirty)
        if more > 0:
            self.dirty = np.pad(self.dirty, (0, more))
            self.arrays = {
                name: np.pad(array, ((0, more), (0, 0))) for name, array in self.arrays.items()
            }

    def due(self) -> int | None:
        """It says nothing without windows."""
        return None

    def forget(self, series: Texts) -> None:
        """Forget series; all of theirs is 0 again."""
        self.grow()
        slots = self._feed.numbers.find(series)
        self.dirty[slots] = False
        for array in self.arrays.values():
            array[slots] = 0

    def stored(self, *, all_of_it: bool) -> Stored:
        """The rows that changed since the last time, or all that are not 0."""
        held = self.dirty
        if all_of_it:
            held = np.any([array.any(axis=1) for array in self.arrays.values()], axis=0)
        slots = np.flatnonzero(held)
        self.dirty[:] = False
        if len(slots):
            yield self._batch(slots)

    def _batch(self, slots: Ints) -> pa.RecordBatch:
        columns = {"series": pa.array(self._feed.texts(slots).tolist(), pa.string())}
        for name, array in self.arrays.items():
            flat = pa.array(array[slots].reshape(-1))
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
        return pa.RecordBatch.from_pydict(columns)

    def restore(self, batch: pa.RecordBatch) -> None:
        """Put rows back."""
        slots = self._feed.slots_of(np.asarray(batch["series"].to_pylist(), np.object_))
        self.grow()
        for name, array in self.arrays.items():
            array[slots] = batch[name].flatten().to_numpy().reshape(len(slots), -1)
