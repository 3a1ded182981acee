"""Rows that lie in several places, each in order, as one stream in order of their offsets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from nilo_consumers.batch import OFFSET, ORIGIN, STAMP
from nilo_consumers.events import Family
from nilo_schemas.arrow import arrow_schema


@dataclass(frozen=True)
class Wanted:
    """Offsets `[first, stop)` of a partition; of days before `since` nothing.

    `fields` are those of the family that are read, whatever else an event has.
    """

    partition: int
    first: int
    stop: int
    since: datetime
    fields: Collection[str]

    def schema(self, family: Family) -> pa.Schema:
        """The columns that are read: the fields, and where the rows came from."""
        mine = [field for field in arrow_schema(family) if field.name in self.fields]
        return pa.schema([*mine, *ORIGIN, STAMP])


@dataclass(frozen=True)
class Run:
    """Rows of one partition in order of their offsets, of which none is below `first`.

    Args:
        first: an offset.
        tables: reads them, some at a time.
    """

    first: int
    tables: Callable[[], Iterable[pa.Table]]


def in_order(runs: Iterable[Run]) -> Iterator[pa.Table]:
    """The rows of all runs in order of their offsets; of each run a table is in memory."""
    left = deque(sorted(runs, key=lambda run: run.first))
    heads: list[_Head] = []
    while left or heads:
        if not heads:
            heads = _opened(left.popleft())
            continue
        limit = min(head.last for head in heads)
        if left and left[0].first <= limit:
            heads += _opened(left.popleft())
            continue
        parts = [head.cut(limit) for head in heads]
        heads = [head for head in heads if head.has_more()]
        yield pa.concat_tables(parts).sort_by(OFFSET) if len(parts) > 1 else parts[0]


def _opened(run: Run) -> list[_Head]:
    head = _Head(iter(run.tables()))
    return [head] if head.has_more() else []


class _Head:
    """A run that is being read, and the rows of it that are at hand."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables, self._rows = tables, next(tables, None)

    def has_more(self) -> bool:
        """Whether rows are at hand; reads more when there are none."""
        while self._rows is not None and not self._rows.num_rows:
            self._rows = next(self._tables, None)
        return self._rows is not None

    @property
    def last(self) -> int:
        """The last offset at hand."""
        return int(self._held()[OFFSET][-1].as_py())

    def cut(self, limit: int) -> pa.Table:
        """Give away the rows up to an offset."""
        rows = self._held()
        many = int(np.searchsorted(rows[OFFSET].to_numpy(), limit, side="right"))
        self._rows = rows.slice(many)
        return rows.slice(0, many)

    def _held(self) -> pa.Table:
        assert self._rows is not None  # noqa: S101  narrowing: `has_more` was true
        return self._rows
