"""Whose rows: the condition for one subject in the words of each store. Always exact equality.

An event has its subject in the column of this name; a window is a subject's when its metric is
grouped by `subject`, that is, when it has this dimension; an alert when it has this label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, LiteralString

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nilo_consumers.batch import ORIGIN
from nilo_consumers.tables import WINDOWS
from nilo_schemas.alerts import Alert

SUBJECT = "subject"
# Where rows came from: the columns by which they are known once they are found.
PLACES = pa.schema(ORIGIN)
# The columns that are maps with the subject in them, by topic.
_MAPS: dict[str, LiteralString] = {WINDOWS: "dimensions", Alert.kafka_topic: "labels"}
_MAP = pa.map_(pa.string(), pa.string())


def postgres_condition(topic: str) -> LiteralString:
    """For a statement whose parameter is the subject; `topic` without prefix."""
    return f"{_MAPS[topic]} ->> 'subject' = %s" if topic in _MAPS else "subject = %s"


def sqlite_condition(topic: str) -> str:
    """As `postgres_condition`."""
    return f"json_extract({_MAPS[topic]}, '$.subject') = ?" if topic in _MAPS else "subject = ?"


def column(topic: str) -> str:
    """The column that says whose a row is; `topic` without prefix."""
    return _MAPS.get(topic, SUBJECT)


def in_columns(topic: str, subject: str) -> Callable[[Any], npt.NDArray[np.bool_]]:
    """A function from Arrow rows that have the column to whether each is the subject's."""

    def is_theirs(rows: pa.Table | pa.RecordBatch) -> npt.NDArray[np.bool_]:
        found = rows.column(column(topic))
        # Files that the lake has rewritten read as views of strings, which nothing compares.
        if topic in _MAPS:
            found = pc.map_lookup(pc.cast(found, _MAP), pa.scalar(SUBJECT), "first")
        theirs = pc.equal(pc.cast(found, pa.string()), pa.scalar(subject))
        filled = pc.fill_null(theirs, False)
        return np.asarray(filled.to_numpy(zero_copy_only=False), np.bool_)

    return is_theirs


def places_of(topic: str, subject: str, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Partition and offset of the subject's rows in Arrow batches that have these and `column`."""
    theirs, found = in_columns(topic, subject), [PLACES.empty_table()]
    for batch in batches:
        places = pa.Table.from_batches([batch.select(PLACES.names)])
        found.append(places.filter(pa.array(theirs(batch))).cast(PLACES))
    return pa.concat_tables(found)


def is_theirs(topic: str, row: Mapping[str, Any], subject: str) -> bool:
    """Whether a row, as values, is the subject's; `topic` without prefix."""
    whose = row[_MAPS[topic]].get(SUBJECT) if topic in _MAPS else row[SUBJECT]
    return bool(whose == subject)
