"""Sets of offsets as stretches `[start, end)`, in order and apart from each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa

from nilo_consumers.batch import OFFSET, PARTITION, Span

Spans = Sequence[Span]


def union(spans: Iterable[Span]) -> list[Span]:
    """All offsets that lie in any of the stretches, which may overlap and have any order."""
    found: list[Span] = []
    for span in sorted(spans, key=_start):
        if found and span.start <= found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        elif span.start < span.end:
            found.append(span)
    return found


def repeated(spans: Iterable[Span]) -> list[Span]:
    """All offsets that lie in more than one of the stretches, which may have any order."""
    found: list[Span] = []
    end: int | None = None
    for span in sorted(spans, key=_start):
        if end is not None and span.start < end:
            found.append(Span(span.start, min(span.end, end)))
        end = span.end if end is None else max(end, span.end)
    return union(found)


def minus(spans: Spans, other: Spans) -> list[Span]:
    """The offsets of the first that are not in the second."""
    found: list[Span] = []
    first = 0  # of the cuts that may reach into this span or later ones
    for span in spans:
        start = span.start
        while first < len(other) and other[first].end <= start:
            first += 1
        for cut in islice(other, first, None):
            if cut.start >= span.end:
                break
            if cut.start > start:
                found.append(Span(start, cut.start))
            start = cut.end
        if start < span.end:
            found.append(Span(start, span.end))
    return found


def both(spans: Spans, other: Spans) -> list[Span]:
    """The offsets that are in both."""
    return minus(spans, minus(spans, other))


def count(spans: Iterable[Span]) -> int:
    """How many offsets there are."""
    return sum(span.end - span.start for span in spans)


def of_offsets(offsets: Iterable[int]) -> list[Span]:
    """The stretches of single offsets, in any order."""
    return union(Span(offset, offset + 1) for offset in offsets)


def stretches(rows: pa.Table) -> Iterator[tuple[int, Span]]:
    """The partitions and stretches of offsets of rows in any order; rows alike overlap."""
    partitions, offsets = rows[PARTITION].to_numpy(), rows[OFFSET].to_numpy()
    order = np.lexsort((offsets, partitions))
    partitions, offsets = partitions[order], offsets[order]
    broken = (np.diff(partitions) != 0) | (np.diff(offsets) != 1)
    for part in np.split(np.arange(len(offsets)), np.flatnonzero(broken) + 1):
        if len(part):
            first, last = part[0], part[-1]
            yield int(partitions[first]), Span(int(offsets[first]), int(offsets[last]) + 1)


def _start(span: Span) -> int:
    return span.start
