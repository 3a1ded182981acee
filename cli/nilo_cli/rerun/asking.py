"""A judge in front of another one, which it asks: for those who only want to listen."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from nilo_stream_processors.engine.arrays import Texts
from nilo_stream_processors.engine.detect.verdicts import Judge, Stored


@dataclass
class Asking:
    """All that the other one does, but for what it says of windows: that is for those to add."""

    judged_by: Judge

    def __post_init__(self) -> None:
        self.labels = self.judged_by.labels
        self.absent_is_clear = self.judged_by.absent_is_clear

    def due(self) -> int | None:
        """When the other one wants to look."""
        return self.judged_by.due()

    def forget(self, series: Texts) -> None:
        """The other one forgets series."""
        self.judged_by.forget(series)

    def stored(self, *, all_of_it: bool) -> Stored:
        """What the other one keeps."""
        return self.judged_by.stored(all_of_it=all_of_it)

    def restore(self, batch: pa.RecordBatch) -> None:
        """Put it back."""
        self.judged_by.restore(batch)
