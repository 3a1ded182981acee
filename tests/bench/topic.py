"""Topics of `events.llm` for a benchmark: filled fast, and what their windows must hold.

A few thousand calls are encoded once; time and model are then laid into the encoded bytes, which
costs a microsecond per event instead of twenty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Producer

from nilo_schemas.clients import kafka_config
from nilo_schemas.codec import encode
from nilo_schemas.families import LlmEvent
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

TOPIC = LlmEvent.kafka_topic
VARIANTS = 4093  # a prime, so that every series meets every variant
BLOCK = 100_000
START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
MINUTE = 60 * SECOND
PROVIDERS = 5
_TIME, _PROVIDER, _MODEL = datetime(2026, 6, 1, tzinfo=UTC), "PROVIDER", "MODEL"
_ID_CUT, _ID_END = 30, 42  # of the framing (5), the length (1) and the id (36): its last group
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Ints = np.ndarray[Any, np.dtype[np.int64]]
# From window start (microseconds) and model to count, errors, sum, least and largest value.
Cells = dict[tuple[int, str], tuple[int, int, int | None, int | None, int | None]]


@dataclass(frozen=True)
class Stream:
    """Calls in order of their time, the same number to each series and, by series, partition.

    Each round over all series goes in another random order. `per_minute` events make one minute
    of event time, from `start` on. `distinct`: each event has an id of its own and a key, as
    producers give them; else the ids of a few thousand calls come again and again.
    """

    events: int
    series: int
    per_minute: int
    start: datetime = START
    distinct: bool = False

    def times(self, index: Ints) -> Ints:
        """Event times in microseconds since the epoch."""
        return _micros(self.start) + index * MINUTE // self.per_minute

    def members(self) -> Ints:
        """The series of every event."""
        rounds = -(-self.events // self.series)
        each = np.broadcast_to(np.arange(self.series), (rounds, self.series))
        order: Ints = np.random.default_rng(1).permuted(each, axis=1)
        return order.ravel()[: self.events]


def model_of(series: int) -> str:
    """The model that makes a series."""
    return f"model-{series:06}"


def variants() -> list[LlmEvent]:
    """The distinct calls; time, provider and model are still to be laid in."""
    rng = np.random.default_rng(2)
    durations = rng.lognormal(-0.3, 0.6, VARIANTS)
    tokens = rng.integers(1, 4_000, (4, VARIANTS)).tolist()
    statuses = rng.choice(
        ["OK", "ERROR", "RETRIED", "FALLBACK"], VARIANTS, p=[0.9, 0.05, 0.03, 0.02]
    )
    return [
        LlmEvent(
            type="llm.call",
            time=_TIME,
            source="bench",
            provider=_PROVIDER,
            model=_MODEL,
            operation="chat",
            status=statuses[i],
            duration=timedelta(seconds=durations[i]),
            time_to_first_token=timedelta(seconds=durations[i] / 5),
            input_tokens=tokens[0][i],
            output_tokens=tokens[1][i],
            cached_input_tokens=tokens[2][i],
            reasoning_tokens=tokens[3][i],
            cost=Decimal(tokens[0][i] + 3 * tokens[1][i]).scaleb(-6),
            fallback_from="model-0" if statuses[i] == "FALLBACK" else None,
        )
        for i in range(VARIANTS)
    ]


class Encoder:
    """Makes the message values of streams."""

    def __init__(self, schema_id: int) -> None:
        cut = [_cut(encode(event, schema_id)) for event in variants()]
        self._parts = [np.array([parts[k] for parts in cut], object) for k in range(5)]

    def values(self, stream: Stream, first: int, members: Ints) -> list[bytes]:
        """The values of the events from number `first` on that belong to these series."""
        index = np.arange(first, first + len(members), dtype=np.int64)
        models = _named(stream.series)[members]
        numbers = [b"%012x" % number for number in index.tolist()] if stream.distinct else None
        return self._joined(index % VARIANTS, stream.times(index), models, numbers)

    def closing(self, stream: Stream) -> bytes:
        """An event long after the stream: with one in each partition, all its windows close."""
        late = stream.times(np.array([stream.events + 10 * stream.per_minute]))
        return self._joined(np.array([0]), late, _named(1))[0]

    def _joined(
        self, variant: Ints, times: Ints, models: Any, numbers: list[bytes] | None = None
    ) -> list[bytes]:
        text = _varints(times)
        stamps = [text[at : at + 8] for at in range(0, len(text), 8)]
        ids, ends, heads, middles, tails = (part[variant] for part in self._parts)
        rows = zip(
            ids,
            ends if numbers is None else numbers,
            heads,
            stamps,
            middles,
            models,
            tails,
            strict=True,
        )
        return [b"".join(row) for row in rows]


def fill(settings: Settings, stream: Stream) -> Iterator[int]:
    """Write the stream in twenty blocks or more; yields how many events Kafka has by then."""
    encoder = Encoder(Registry(settings).schema_id(LlmEvent))
    members, producer = stream.members(), _producer(settings)
    name, size = settings.topic_prefix + TOPIC, min(BLOCK, max(stream.events // 20, 1))
    for first in range(0, stream.events, size):
        block = members[first : first + size]
        values = encoder.values(stream, first, block)
        partitions = (block % settings.partitions).tolist()
        keys = _keys(stream)[block] if stream.distinct else repeat(None)
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


def _cut(value: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """The encoded call without its time and without its provider and model.

    The last group of the id is a piece of its own.
    """
    head, _, rest = value.partition(_varints(np.array([_micros(_TIME)])))
    middle, _, tail = rest.partition(_optional(_PROVIDER) + _optional(_MODEL))
    return head[:_ID_CUT], head[_ID_CUT:_ID_END], head[_ID_END:], middle, tail


def _named(series: int) -> Any:
    """Provider and model of each series, encoded."""
    encoded = [_optional(f"p{one % PROVIDERS}") + _optional(model_of(one)) for one in range(series)]
    return np.array(encoded, object)


def _keys(stream: Stream) -> Any:
    return np.array([model_of(one).encode() for one in range(stream.series)], object)


def _optional(text: str) -> bytes:
    """A text in a union with null: the branch, the length (both zig-zag, one byte here), itself."""
    return bytes([2, 2 * len(text)]) + text.encode()


def _varints(values: Ints) -> bytes:
    """Avro longs; microseconds of our age take eight bytes each."""
    shifts = np.arange(8, dtype=np.int64) * 7
    septets = (2 * values[:, None] >> shifts) & 0x7F
    septets[:, :7] |= 0x80
    return septets.astype(np.uint8).tobytes()


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
