"""Windows as the rows that a sink is given."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from nilo_schemas.arrow import arrow_schema
from nilo_schemas.results import MetricWindow


def window_rows(windows: Iterable[MetricWindow]) -> pa.Table:
    """The windows as an Arrow table with the columns of the contract."""
    rows = [window.model_dump() for window in windows]
    for row in rows:
        row |= {name: list(row[name].items()) for name in ("dimensions", "quantiles")}
    return pa.Table.from_pylist(rows, arrow_schema(MetricWindow))
