"""The rows of a topic's Delta table, read with a new contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nilo_consumers.batch import OFFSET, ORIGIN, PARTITION, STAMP
from nilo_consumers.lake import EVENT_DATE, dataset, existing_table, translated
from nilo_consumers.rehearse.in_kafka import Progress
from nilo_consumers.rehearse.judge import LOST, Fault, problem_of
from nilo_consumers.rehearse.stored import Schema, as_written, lenient
from nilo_consumers.rehearse.tally import Tally
from nilo_consumers.tables import STORED_AT
from nilo_schemas.arrow import arrow_schema_of, exact
from nilo_schemas.errors import Reason
from nilo_schemas.faults import BadMessage, bad_rows
from nilo_schemas.foreign import expanded
from nilo_schemas.settings import Settings

_ROWS = 10_000  # rows in memory at a time
_OURS = {*(field.name for field in ORIGIN), STAMP.name, EVENT_DATE, STORED_AT}


@dataclass
class Rows(Tally):
    """The rows of a table.

    Args:
        kept: columns whose type the new contract changes; the table keeps its own, and rows to come
            are cast to it: 2.5 becomes 2.
    """

    kept: list[dict[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The counts, what breaks, and the columns."""
        return super().as_json() | {"kept": self.kept}


def stored(settings: Settings, topic: str, reader: Schema, progress: Progress) -> Rows | None:
    """What the table of a topic (without prefix) holds; None without a table.

    Only the columns that a new contract could break are read.

    Raises:
        StoreError: the lake does not answer, or is unreadable.
    """
    table = existing_table(settings, topic)
    if table is None:
        return None
    with translated(f"reading {topic}"):
        found = dataset(table)
        rows = found.count_rows()
        look = looked_for(found.schema, reader)
        tally = Rows(rows, rows, kept=list(_kept(found.schema, arrow_schema_of(reader))))
        if not look.wanted:
            return tally
        columns = [PARTITION, OFFSET, *look.columns]
        done = 0
        for batch in found.to_batches(columns=columns, batch_size=_ROWS, fragment_readahead=1):
            tally.breaks.add(look.faults(batch), partial(_where, topic, batch))
            done += batch.num_rows
            progress("lake", done, rows)
    return tally


def _kept(stored: pa.Schema, wanted: pa.Schema) -> Iterator[dict[str, str]]:
    for each in wanted:
        kind = stored.field(each.name).type if each.name in stored.names else each.type
        if kind != each.type and not (pa.types.is_nested(kind) and pa.types.is_nested(each.type)):
            yield {"column": each.name, "table": str(kind), "contract": str(each.type)}


def _where(topic: str, batch: pa.RecordBatch, row: int) -> str:
    return f"{topic}/{batch[PARTITION][row]}/{batch[OFFSET][row]}"


@dataclass
class Look:
    """What a table's rows are looked at for.

    Args:
        missing: a column that the contract demands and the table lacks.
        hopeless: columns of which no value fits, with the reason.
        reader: the contract with the columns whose values may fit, and how these are stored.
        schema: the reader's in Arrow.
    """

    reader: Schema
    written: Schema
    schema: pa.Schema
    missing: str = ""
    hopeless: dict[str, Fault] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The columns that are to be read."""
        return [*self.schema.names, *self.hopeless]

    @property
    def wanted(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self.missing or self.columns)

    def faults(self, batch: pa.RecordBatch) -> dict[int, Fault]:
        """By row, its first fault."""
        if self.missing:
            fault = _misfit(self.missing, "is missing and has no default")
            return dict.fromkeys(range(batch.num_rows), fault)
        found = self._bad_values(batch) if len(self.schema) else {}
        for name, fault in self.hopeless.items():
            rows = np.flatnonzero(np.asarray(pc.is_valid(batch[name])))
            found = dict.fromkeys(rows.tolist(), fault) | found
        return found

    def _bad_values(self, batch: pa.RecordBatch) -> dict[int, Fault]:
        # take, not what a file's reader gives: lists of a slice keep the offsets of the whole
        rows = batch.select(self.schema.names).take(pa.array(range(batch.num_rows), pa.int64()))
        suspects = bad_rows(rows, (self.written, exact(self.reader)), self.schema, {})
        if not suspects:
            return {}
        places = sorted(suspects)
        again = rows.take(pa.array(places, pa.int64()))
        failed = bad_rows(again, (self.written, self.reader), self.schema, {})
        return {
            row: _told(failed[place]) if place in failed else _lost(suspects[row])
            for place, row in enumerate(places)
        }


def looked_for(stored: pa.Schema, reader: Schema) -> Look:
    """What a new contract could break in a table with these columns."""
    soft = lenient(reader)
    whole, wanted = expanded(soft), arrow_schema_of(soft)
    # `stored`: another schema than the reader's, even where all columns are as it has them.
    written = {**whole, "fields": [], "stored": True}
    look = Look({**whole, "fields": []}, written, pa.schema([]))
    for each, target in zip(whole["fields"], wanted, strict=True):
        name = each["name"]
        if name not in stored.names:
            look.missing = look.missing or ("" if "default" in each else name)
            continue
        column = stored.field(name)
        kind = as_written(each["type"], column.type, target.type)
        if kind is None:
            look.hopeless[name] = _misfit(name, f"{column.type} does not become {target.type}")
        elif _may_break(each["type"], column, target):
            look.reader["fields"].append(each)
            look.written["fields"].append({"name": name, "type": kind})
            look.schema = look.schema.append(target)
    for name in stored.names:
        if name not in wanted.names and name not in _OURS:
            look.hopeless[name] = Fault(LOST, name, "the new contract has no such field")
    return look


def _may_break(kind: Any, stored: pa.Field, wanted: pa.Field) -> bool:
    """Whether a value can be bad: by a null, by its type, or as an unknown symbol."""
    null = stored.nullable and not wanted.nullable
    return null or stored.type != wanted.type or "'enum'" in repr(kind)


def _misfit(name: str, problem: str) -> Fault:
    return Fault(str(Reason.INCOMPATIBLE), name, problem)


def _told(bad: BadMessage) -> Fault:
    return _misfit(bad.field, problem_of(bad))


def _lost(bad: BadMessage) -> Fault:
    return Fault(LOST, bad.field, problem_of(bad))
