"""Arrow rows to the CSV text that PostgreSQL's COPY reads: an unquoted nothing is NULL."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from nilo_consumers.json_text import json_text

# Strings are always quoted and nulls never: that is how COPY tells '' from NULL.
_OPTIONS = csv.WriteOptions(include_header=False, quoting_style="needed")


def csv_text(rows: pa.Table) -> pa.Buffer:
    """The rows as CSV; maps, lists and structs as JSON text."""
    columns = [_column(column.combine_chunks()) for column in rows.columns]
    sink = pa.BufferOutputStream()
    csv.write_csv(pa.Table.from_arrays(columns, names=rows.column_names), sink, _OPTIONS)
    return sink.getvalue()


def _column(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return _times(column)
    return json_text(column) if pa.types.is_nested(column.type) else column


def _times(column: pa.Array) -> pa.Array:
    # Arrow's own text of times with a zone takes ten times as long: it looks each one up.
    text = column.cast(pa.timestamp(column.type.unit)).cast(pa.string())
    return pc.binary_join_element_wise(text, "Z", "")
