"""Windows in the lake: what there is, and taking away what is past its days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import reduce
from operator import or_
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from deltalake.exceptions import CommitFailedError

from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.delta import DeltaSink
from nilo_consumers.lake import (
    EVENT_DATE,
    dataset,
    existing_table,
    literal,
    text_field,
    translated,
    writer_properties,
)
from nilo_consumers.tables import WINDOWS
from nilo_consumers.tiers.windows.plan import Group, Question, Removal
from nilo_consumers.tiers.windows.statements import GROUPS, UNCOVERED, gathered
from nilo_schemas.settings import Settings

_TRIES = 5
_BATCH = 10_000  # rows; few of them in memory at a time
_TABLE = "windows"


class WarmWindows:
    """The Delta table of the windows; all methods raise StoreError."""

    name = DeltaSink.name

    def __init__(self, settings: Settings) -> None:
        self._table = existing_table(settings, WINDOWS)

    def groups(self, before: date | None = None) -> list[Group]:
        """All windows that begin before a day (None: all)."""
        if self._table is None:
            return []
        within = "true" if before is None else f"{EVENT_DATE} < '{before}'"
        query = GROUPS.format(day=EVENT_DATE, table=_TABLE, within=within)
        return gathered(tuple(row.values()) for row in _rows(self._table, query))

    def covered(self, asked: Question) -> set[str]:
        """The metrics whose windows all begin in a longer one; see `Question`."""
        assert self._table is not None  # noqa: S101  there were groups
        query = UNCOVERED.format(
            hop=literal(f"{asked.longer.hop.total_seconds():.0f} seconds"),
            table=_TABLE,
            within=f"{EVENT_DATE} = '{asked.day}'",
            window=literal(asked.window),
            metrics=_list(asked.metrics),
            reach=f"{EVENT_DATE} BETWEEN '{asked.first_day}' AND '{asked.day}'",
            longer=literal(asked.longer.text),
        )
        return set(asked.metrics) - {row["metric"] for row in _rows(self._table, query)}

    def partition_days(self, before: date) -> list[date]:
        """None: a day without windows is nothing in the lake."""
        del before
        return []

    def remove(self, day: date, removals: Sequence[Removal], *, whole: bool) -> None:
        """Take windows of a day away; the files that had them stay until `nilo lake vacuum`.

        Raises:
            StoreUnavailableError: others changed the day's files again and again meanwhile.
        """
        del whole  # they are named all the same: others may have come
        assert self._table is not None  # noqa: S101  there were groups
        of_day = pc.field(EVENT_DATE) == day
        gone = reduce(or_, map(_named, removals))
        with translated(f"taking windows of {day} away"):
            for left in reversed(range(_TRIES)):
                try:
                    self._rewrite(f"{EVENT_DATE} = '{day}'", of_day & ~gone)
                except CommitFailedError:
                    if not left:
                        raise
                else:
                    return

    def _rewrite(self, day: str, kept: pc.Expression) -> None:
        # Not `delete`: the strings of the files that it writes are of a type that PyArrow's
        # filters do not take.
        assert self._table is not None  # noqa: S101  there were groups
        self._table.update_incremental()
        rows = dataset(self._table).scanner(
            filter=kept, batch_size=_BATCH, batch_readahead=1, fragment_readahead=1
        )
        write_deltalake(
            self._table, rows.to_reader(), mode="overwrite", predicate=day,
            writer_properties=writer_properties(WINDOWS),
        )  # fmt: skip


def _named(removal: Removal) -> pc.Expression:
    before = [
        (pc.field(PARTITION) == partition) & (pc.field(OFFSET) < end)
        for partition, end in removal.ends.items()
    ]
    mine = text_field("window") == removal.window
    mine &= text_field("metric").isin(list(removal.metrics))
    return mine & reduce(or_, before)


def _rows(table: DeltaTable, query: str) -> Iterator[dict[str, Any]]:
    with translated("reading windows"):
        found = QueryBuilder().register(_TABLE, table).execute(query)
        for batch in pa.RecordBatchReader.from_stream(found):
            yield from batch.to_pylist()


def _list(texts: Iterable[str]) -> str:
    return ", ".join(map(literal, texts))
