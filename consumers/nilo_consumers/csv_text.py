"""Arrow rows to the CSV text that PostgreSQL's COPY reads: an unquoted nothing is NULL."""

from __future__ import annotations

import pyarrow as pa
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
    return json_text(column) if pa.types.is_nested(column.type) else column
