"""Final windows as they lie in Kafka or in a store: with their origin, in one partition."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from nilo_consumers.window_rows import SCHEMA
from nilo_schemas.results import MetricWindow


def window_table(windows: Sequence[MetricWindow], *, first: int = 0) -> pa.Table:
    """Windows with the offsets from `first`, in the order in which they were published."""
    values = [
        each.model_dump() | {"kafka_partition": 0, "kafka_offset": first + number}
        for number, each in enumerate(windows)
    ]
    return pa.Table.from_pylist(values, SCHEMA)
