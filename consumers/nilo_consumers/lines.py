"""Final windows as InfluxDB's line protocol, column by column.

`metric,unit=…,window=…,<dimension>=… count=…i,errors=…i,… <start in nanoseconds>`. Measurement,
tags and time are the window's identity: a later revision overwrites an earlier one.
Source: docs.influxdata.com, InfluxDB v2, Line protocol.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nilo_consumers.maps import entries, together
from nilo_consumers.tally import last_of_each

# Tags of our own, and names that InfluxDB keeps for itself.
_RESERVED = frozenset({"unit", "window", "time", "_measurement", "_field"})
_COUNTS = ("count", "errors", "revision")
_FLOATS = ("sum", "min", "max", "mean", "rate", "error_ratio", "distinct")


def line_protocol(windows: pa.Table) -> bytes:
    """The lines of at least one window; of several revisions of one window the last."""
    rows = windows.combine_chunks()
    columns = {name: rows[name].combine_chunks() for name in rows.column_names}
    series = _text(
        _escaped(columns["metric"], "([, ])"),
        _tag("unit", columns["unit"]),
        _tag("window", columns["window"]),
        _dimensions(columns["dimensions"]),
    )
    start = columns["window_start"].cast(pa.int64())
    fields = [_pair(name, columns[name], "i") for name in _COUNTS]
    fields += [_pair(name, columns[name], "") for name in _FLOATS]
    values = pc.utf8_slice_codeunits(_text(*fields, _quantiles(columns["quantiles"])), 1)
    lines = _text(series, " ", values, " ", start.cast(pa.string()), "000")  # from microseconds
    return _body(lines.take(_newest(series, start, columns["revision"])))


def _newest(series: pa.Array, start: pa.Array, revision: pa.Array) -> pa.Array:
    """The place of the last revision of each window."""
    codes = series.dictionary_encode().indices.to_numpy()
    return pa.array(np.sort(last_of_each(codes, start.to_numpy(), revision.to_numpy())))


def _body(lines: pa.Array) -> bytes:
    ends = pa.array([0, len(lines)], pa.int32())
    body: bytes = (
        pc.binary_join(pa.ListArray.from_arrays(ends, lines), "\n")[0].as_buffer().to_pybytes()
    )
    return body


def _text(*parts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _pair(name: str, column: pa.Array, suffix: str) -> pa.Array:
    """`,name=value`, or nothing where there is no value."""
    return pc.fill_null(_text(f",{name}=", column.cast(pa.string()), suffix), "")


def _tag(name: str, column: pa.Array) -> pa.Array:
    """`,name=value`; an empty value is no tag."""
    return pc.if_else(pc.equal(column, ""), "", _text(f",{name}=", _escaped(column)))


def _dimensions(column: pa.Array) -> pa.Array:
    keys, values = entries(column)
    tags = _text(",", _renamed(keys, _tag_name), "=", _escaped(values))
    return together(column, pc.if_else(pc.equal(values, ""), "", tags))


def _quantiles(column: pa.Array) -> pa.Array:
    keys, values = entries(column)
    return together(column, _text(",", _escaped(keys), "=", values.cast(pa.string())))


def _tag_name(dimension: str) -> str:
    return f"dim_{dimension}" if dimension in _RESERVED or not dimension else dimension


def _renamed(keys: pa.Array, name: Any) -> pa.Array:
    """Names are few, so each different one passes through Python once."""
    encoded = keys.dictionary_encode()
    names = pa.array([name(key) for key in encoded.dictionary.to_pylist()], pa.string())
    return _escaped(names).take(encoded.indices)


def _escaped(column: pa.Array, special: str = "([,= ])") -> pa.Array:
    """Text as a measurement, tag or key; no line may end in it and no escape begin with its end."""
    for raw, shown in (("\n", r"\n"), ("\r", r"\r")):
        column = pc.replace_substring(column, raw, shown)
    column = pc.replace_substring_regex(column, special, r"\\\1")
    return pc.replace_substring_regex(column, r"(\\)$", r"\1_")
