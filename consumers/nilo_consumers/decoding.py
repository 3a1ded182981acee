"""Messages to chunks of rows, and to dead letters for those that do not decode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from nilo_consumers.batch import ORIGIN, STAMP, Chunk, Span
from nilo_schemas.batch import BatchDecoder
from nilo_schemas.contracts import records
from nilo_schemas.dead_letters import Header
from nilo_schemas.envelope import Event
from nilo_schemas.errors import ContractError, Reason
from nilo_schemas.record import Record

TopicPart = tuple[str, int]


@dataclass(frozen=True)
class DeadLetter:
    """A message that did not decode or that was refused in use, where it came from, and why.

    `message` None: it could not be read once more.
    """

    topic: str
    partition: int
    offset: int
    message: Message | None
    reason: Reason
    detail: str


def record_of(topic: str, prefix: str) -> type[Record]:
    """The record of a full topic name; raises ContractError when there is none."""
    try:
        return records()[topic.removeprefix(prefix)]
    except KeyError:
        raise ContractError(
            f"no contract has the topic {topic!r}; known: {', '.join(records())}"
        ) from None


def headers_of(message: Message) -> list[Header]:
    """The headers of a message that was read."""
    # The client's types also allow a dict, which only producers give.
    found: Any = message.headers()
    return list(found or [])


def by_partition(messages: Sequence[Message]) -> dict[TopicPart, list[Message]]:
    """The messages of each topic and partition, in order."""
    groups: dict[Any, list[Message]] = {}
    topics, numbers = map(Message.topic, messages), map(Message.partition, messages)
    first = 0
    for place, run in groupby(zip(topics, numbers, strict=True)):  # they come in long runs
        end = first + len(list(run))
        groups.setdefault(place, []).extend(messages[first:end])
        first = end
    return groups


class Decoder:
    """Decodes the messages of several topics; `writer_schema` as in BatchDecoder."""

    def __init__(self, prefix: str, writer_schema: Callable[[int], dict[str, Any]]) -> None:
        self._prefix, self._writer_schema = prefix, writer_schema
        self._decoders: dict[str, BatchDecoder] = {}

    def chunk(
        self, part: TopicPart, start: int, messages: Sequence[Message]
    ) -> tuple[Chunk, list[DeadLetter]]:
        """The rows of one partition's messages with their origin, and what did not decode.

        Args:
            part: topic and partition.
            start: the offset that was to come next; the first message may lie beyond it.
            messages: at least one, in order.
        """
        topic, partition = part
        decoded = self._of(topic).decode([message.value() for message in messages])
        offsets = np.array([message.offset() for message in messages], np.int64)
        partitions = np.full(len(decoded.indexes), partition, np.int32)
        rows = with_origin(decoded.rows, partitions, offsets[decoded.indexes])
        if issubclass(record_of(topic, self._prefix), Event):
            stamps = np.array([message.timestamp()[1] for message in messages], np.int64)
            rows = _with_stamps(rows, stamps[decoded.indexes])
        dead = [
            DeadLetter(
                topic,
                partition,
                int(offsets[bad.index]),
                messages[bad.index],
                bad.reason,
                bad.detail,
            )
            for bad in decoded.bad
        ]
        return Chunk(partition, rows, Span(start, int(offsets[-1]) + 1)), dead

    def _of(self, topic: str) -> BatchDecoder:
        if topic not in self._decoders:
            record = record_of(topic, self._prefix)
            self._decoders[topic] = BatchDecoder(record, self._writer_schema)
        return self._decoders[topic]


def with_origin(rows: pa.RecordBatch, partitions: Any, offsets: Any) -> pa.Table:
    """Rows of a contract with the columns that say where their messages lie."""
    columns = [*rows.columns, pa.array(partitions, pa.int32()), pa.array(offsets, pa.int64())]
    return pa.Table.from_arrays(columns, schema=pa.schema([*rows.schema, *ORIGIN]))


def _with_stamps(rows: pa.Table, milliseconds: Any) -> pa.Table:
    # Kafka says -1 of a record that has no time.
    times = pa.array(milliseconds * 1000, mask=milliseconds < 0).cast(STAMP.type)
    return rows.append_column(STAMP, times)
