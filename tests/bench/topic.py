"""Topics of `events.llm` for a benchmark: filled fast, and what their windows must hold."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Producer

from nilo_schemas.clients import kafka_config
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings
from tests.bench.calls import VARIANTS, Encoder, variants
from tests.bench.stream import MINUTE, Stream, model_of

TOPIC = LlmEvent.kafka_topic
BLOCK = 100_000
# From window start (microseconds) and model to count, errors, sum, least and largest value.
Cells = dict[tuple[int, str], tuple[int, int, int | None, int | None, int | None]]


def fill(settings: Settings, stream: Stream) -> Iterator[int]:
    """Write the stream in twenty blocks or more; yields how many events Kafka has by then."""
    encoder = Encoder(Registry(settings).schema_id(LlmEvent), full=stream.full)
    members, producer = stream.members(), _producer(settings)
    name, size = settings.topic_prefix + TOPIC, min(BLOCK, max(stream.events // 20, 1))
    for first in range(0, stream.events, size):
        block = members[first : first + size]
        values = encoder.values(stream, first, block)
        partitions = (block % settings.partitions).tolist()
        keys = _keys(stream)[block] if stream.full else repeat(None)
        for value, partition, key in zip(values, partitions, keys, strict=False):
            producer.produce(name, value, key, partition=partition)
        producer.flush()
        yield first + len(block)


def close(settings: Settings, stream: Stream) -> None:
    """Write the events after which every window of the stream closes."""
    value = Encoder(Registry(settings).schema_id(LlmEvent)).closing(stream)
    producer = _producer(settings)
    for partition in range(settings.partitions):
        producer.produce(settings.topic_prefix + TOPIC, value, partition=partition)
    producer.flush()


@cache
def expected(stream: Stream, value: str | None, status: str | None = None) -> Cells:
    """What the one-minute windows by model must hold, from the numbers the stream is made of.

    Args:
        stream: the events.
        value: the field to add up, None to count only; in the integers in which it travels.
        status: only the events with this status.
    """
    calls = [event.to_avro() for event in variants()]
    index = np.arange(stream.events, dtype=np.int64)
    times = stream.times(index)
    table = pa.table(
        {
            "start": times - times % MINUTE,
            "series": stream.members(),
            "error": np.array([c["status"] == "ERROR" for c in calls], np.int64)[index % VARIANTS],
            "value": np.array([c[value] if value else 0 for c in calls], np.int64)[
                index % VARIANTS
            ],
        }
    )
    if status is not None:
        table = table.filter(np.array([c["status"] == status for c in calls])[index % VARIANTS])
    cells = _grouped(table)
    return cells if value else {key: (*cell[:2], None, None, None) for key, cell in cells.items()}


def _grouped(table: pa.Table) -> Cells:
    asked = [("error", "count"), ("error", "sum"), *(("value", f) for f in ("sum", "min", "max"))]
    names = ["start", "series", *(f"{column}_{function}" for column, function in asked)]
    columns = table.group_by(["start", "series"]).aggregate(asked).select(names).to_pydict()
    return {
        (start, model_of(series)): tuple(cell)
        for start, series, *cell in zip(*columns.values(), strict=True)
    }


def _producer(settings: Settings) -> Producer:
    return Producer(
        kafka_config(settings, compression_type="lz4", linger_ms=50)
        | {"queue.buffering.max.messages": 2 * BLOCK}
    )


def _keys(stream: Stream) -> Any:
    return np.array([model_of(one).encode() for one in range(stream.series)], object)
