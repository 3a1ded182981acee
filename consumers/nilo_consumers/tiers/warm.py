"""The days of a topic in the lake: which there are, where their rows came from, and the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import numpy as np
import pyarrow.compute as pc
from deltalake import DeltaTable

from nilo_consumers.audit.spans import Spans, minus, repeated, stretches, union
from nilo_consumers.batch import OFFSET, PARTITION, Span
from nilo_consumers.errors import StoreRefusedError
from nilo_consumers.events import rows_of
from nilo_consumers.lake import EVENT_DATE, dataset, translated

# Rows in memory at a time: as columns, for each look into the files, and of these as values.
_CHUNK, _VALUES = 50_000, 2_000


class WarmDay:
    """One day as one version of the table shows it: rows that come later are not in it."""

    def __init__(self, table: DeltaTable, topic: str, day: date) -> None:
        self._table, self.topic, self.day = table, topic, day
        self._dataset = dataset(table)

    def spans(self) -> dict[int, list[Span]]:
        """The offsets of the day's rows, by partition.

        Raises:
            StoreRefusedError: some rows are there twice.
            StoreUnavailableError: the lake does not answer, or lacks a file.
        """
        with translated(f"reading {self.topic} of {self.day}"):
            found = _spans(self._dataset, self._of_day())
        for partition, spans in found.items():
            if repeated(spans):
                raise StoreRefusedError(
                    f"the lake holds rows of {self.topic}/{partition} of {self.day} twice, such as "
                    f"offset {repeated(spans)[0].start}: `nilo audit reconcile` tells which"
                )
        return {partition: union(found[partition]) for partition in sorted(found)}

    def rows(self, wanted: Mapping[int, Spans]) -> Iterator[dict[str, Any]]:
        """The rows with these offsets in order of partition and offset; all are there.

        Raises:
            StoreUnavailableError: the lake does not answer, or lacks a file.
        """
        with translated(f"reading {self.topic} of {self.day}"):
            for partition, spans in wanted.items():
                for some in _chunks(spans):
                    part = self._dataset.to_table(filter=self._places(partition, some))
                    part = part.drop_columns([EVENT_DATE])
                    ordered = part.filter(_inside(some)).sort_by(OFFSET)
                    for batch in ordered.to_batches(_VALUES):
                        yield from rows_of(batch)

    def leave(self) -> None:
        """Take the day's rows out of the table; readers of earlier versions keep the files.

        Raises:
            StoreUnavailableError: rows of this day came since; they are not taken out.
        """
        with translated(f"taking {self.day} out of {self.topic}"):
            self._table.delete(f"{EVENT_DATE} = '{self.day}'")

    def _of_day(self) -> pc.Expression:
        return pc.field(EVENT_DATE) == self.day

    def _places(self, partition: int, spans: Spans) -> pc.Expression:
        within = (pc.field(OFFSET) >= spans[0].start) & (pc.field(OFFSET) < spans[-1].end)
        return self._of_day() & (pc.field(PARTITION) == partition) & within


def days(table: DeltaTable) -> list[date]:
    """The days of which a table has rows, oldest first."""
    with translated("reading the days of the lake"):
        return sorted({date.fromisoformat(each[EVENT_DATE]) for each in table.partitions()})


def offsets_of(table: DeltaTable, topic: str, first: date, before: date) -> dict[int, list[Span]]:
    """The offsets of the rows of the days [first, before); rows that are there twice overlap.

    Raises:
        StoreUnavailableError: the lake does not answer, or lacks a file.
    """
    with translated(f"reading {topic} before {before}"):
        day = pc.field(EVENT_DATE)
        return _spans(dataset(table), (day >= first) & (day < before))


def _spans(files: Any, wanted: pc.Expression) -> dict[int, list[Span]]:
    found: dict[int, list[Span]] = {}
    for fragment in files.get_fragments(filter=wanted):  # one in memory at a time
        for partition, span in stretches(fragment.to_table(columns=[PARTITION, OFFSET])):
            found.setdefault(partition, []).append(span)
    return found


def without(spans: Mapping[int, Spans], others: Mapping[int, Spans]) -> dict[int, Spans]:
    """The offsets of the first that are not among the others, by partition."""
    left = {p: minus(some, union(others.get(p, ()))) for p, some in spans.items()}
    return {partition: some for partition, some in left.items() if some}


def _chunks(spans: Spans) -> Iterator[list[Span]]:
    """The stretches in groups of no more offsets than fit into memory."""
    some: list[Span] = []
    room = _CHUNK
    for span in spans:
        start = span.start
        while start < span.end:
            end = min(span.end, start + room)
            some.append(Span(start, end))
            room -= end - start
            start = end
            if not room:
                yield some
                some, room = [], _CHUNK
    if some:
        yield some


def _inside(spans: Spans) -> pc.Expression:
    offsets = np.concatenate([np.arange(span.start, span.end) for span in spans])
    return pc.field(OFFSET).isin(offsets)
